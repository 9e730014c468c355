#!/usr/bin/env python3
"""A flood of CONNECTs from 1,000 banned addresses against one worker: what 500 good clients notice.

Everything is on loopback; the proxy has a core for itself. The pings of 500 clients are timed without
the flood and with it, and then directly at the broker, which shows what generator and kernel add.
Each address of the flood is banned once it exceeds `handshakes_per_ip`, and from then on the brokers
must not see it. A run takes half a minute, and opens at most twice `--rate` times `--seconds`
connections.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from rig import process
from rig.process import LOAD_CORE, PROXY_CORE, Failure, Process, free_port
from rig.proxies import BINARIES, ROOT

CLIENTS = 500
# The stated limit for the 99th percentile, compared with a quiet proxy.
LIMIT = 2.0
SOURCES = 1_000
BURST = 5


def config(folder, port, broker, admin):
    return {
        "runtime": {"workers": 1},
        "listeners": [{"name": "mqtt", "bind": f"127.0.0.1:{port}", "pool": "brokers"}],
        "pools": [{"name": "brokers", "upstreams": [{"name": "stub", "address": f"127.0.0.1:{broker}"}]}],
        # The good clients come from 127.0.0.1, at once.
        "limits": {"handshakes_per_ip": {"rate": 1, "burst": BURST, "ban_for": "1h"}},
        "access_log": [{"path": str(folder / "access.log"), "format": "json"}],
        "admin": {"bind": f"127.0.0.1:{admin}"},
        "drain": {"timeout": "1s"},
    }


def metric(admin, family):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"mqtt_lb_{family}{{"))


def pings(args, target, folder, flooded_port=None):
    # One source for each good client, within the rate.
    command = [args.load, "pings", "--target", f"127.0.0.1:{target}", "--clients", CLIENTS]
    command += ["--seconds", args.seconds, "--sources", 125]
    if flooded_port:
        command += ["--flood", args.rate, "--flood-target", f"127.0.0.1:{flooded_port}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with Process("load", command, LOAD_CORE, folder, realtime=True, **pipes) as load:
        def line():
            said = load.child.stdout.readline().strip()
            if not said:
                raise Failure(f"the load ended: {load.complaint()}")
            return said

        if (said := line()) != "ready":
            raise Failure(said)
        load.child.stdin.write("next\n")
        load.child.stdin.flush()
        result = json.loads(line())
        if result["errors"]:
            raise Failure(result["first_error"])
        return result


def run(args, folder):
    port, broker, admin = free_port(), free_port(), free_port()
    file = folder / "config.yaml"
    file.write_text(json.dumps(config(folder, port, broker, admin)))
    listen = [args.stub, "--listen", f"127.0.0.1:{broker}"]
    stub = Process("stub", listen, LOAD_CORE, folder, realtime=True, stdin=subprocess.PIPE)
    with stub, Process("mqtt-lb", [args.binary, "run", "-c", file], PROXY_CORE, folder) as proxy:
        stub.wait_listening(broker)
        proxy.wait_listening(port)
        quiet = pings(args, port, folder)
        # The good clients' own buckets fill up again.
        time.sleep(BURST)
        sessions = metric(admin, "sessions_total")
        flooded = pings(args, port, folder, port)
        refused = metric(admin, "banned_refused_total")
        passed = metric(admin, "sessions_total") - sessions - CLIENTS
        # What the generator and the kernel add by themselves: pings that do not pass the proxy.
        direct = pings(args, broker, folder)
        direct_flooded = pings(args, broker, folder, port)
    p99 = [result["latency_us"]["p99"] for result in (quiet, flooded)]
    print(f"quiet:   {quiet['latency_us']}")
    print(f"flooded: {flooded['latency_us']}, {flooded['flood_rate']:.0f} connections a second")
    print(f"past the proxy, quiet:   {direct['latency_us']}")
    print(f"past the proxy, flooded: {direct_flooded['latency_us']}, {direct_flooded['flood_rate']:.0f}")
    print(f"p99: {p99[1] / p99[0]:.2f} x quiet (limit {LIMIT})")
    most = SOURCES * (BURST + args.seconds + 1)
    print(f"refused: {refused:.0f}; to brokers before the bans: {passed:.0f} (at most {most:.0f})")
    return p99[1] <= LIMIT * p99[0] and passed <= most


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/dist/mqtt-lb", type=Path)
    parser.add_argument("--load", default=BINARIES / "load", type=Path)
    parser.add_argument("--stub", default=BINARIES / "stub", type=Path)
    parser.add_argument("--rate", default=30_000, type=int, help="CONNECTs a second")
    parser.add_argument("--seconds", default=5.0, type=float)
    args = parser.parse_args()
    # Nothing else on the machine delays what is timed, the flood's own sender least of all.
    process.proxies_are_realtime = True
    with tempfile.TemporaryDirectory() as folder:
        try:
            good = run(args, Path(folder))
        except Failure as failure:
            sys.exit(f"flood: {failure}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
