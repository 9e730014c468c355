#!/usr/bin/env python3
"""Measures the admin API: how long a search for a client takes among many sessions, how long a
thousand parallel scrapes take, and what searches cost the clients; with the workers idle, and with
them at their limit.

The proxy has two workers. Load generator, stub broker and admin client share the machine's cores
with it: on two cores a figure "at the limit" has five other busy threads next to the admin thread.
Run it as root, so that the scraper does not wait for a core behind them.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from rig.process import Failure, Process, free_port
from rig.proxies import BINARIES, ROOT, build

ALL_CORES = set(range(os.cpu_count()))
# Two descriptors each in the proxy, which is to have fewer than 20,000.
SESSIONS = 9_000
BUSY = 200
SCRAPERS = 1_000


def main():
    options = parse_options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            build([])
            measure(options, folder, stack)
        except Failure as failure:
            sys.exit(f"FAILED: {failure}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/dist/mqtt-lb")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--searches", type=int, default=300, help="of each kind (300)")
    parser.add_argument("--seconds", type=float, default=5, help="of load for each figure (5)")
    return parser.parse_args()


def measure(options, folder, stack):
    broker, port, admin = free_port(), free_port(), free_port()
    command = (BINARIES / "stub", "--listen", f"127.0.0.1:{broker}")
    # It ends with its standard input.
    stub = stack.enter_context(start(folder, "stub", *command, stdin=subprocess.PIPE))
    stub.wait_listening(broker)
    config = folder / "config.yaml"
    config.write_text(json.dumps(configuration(broker, port, admin, folder)))
    proxy = stack.enter_context(start(folder, "mqtt-lb", options.binary, "run", "-c", config))
    proxy.wait_listening(port)
    held = stack.enter_context(Load(folder, "idle", port, "--clients", options.sessions))
    held.run()
    api = Api(admin)
    clients = [session["client_id"] for session in api.get("/api/v1/sessions?limit=1000")["sessions"]]

    print(f"{options.sessions} sessions on 2 workers, {os.cpu_count()} cores, {options.binary}\n")
    print(f"{'ms':44} {'p50':>9} {'p99':>9} {'max':>9}")
    for state in ("idle", "at their limit"):
        with ExitStack() as busy:
            if state != "idle":
                # More than enough for all figures; it ends with the block.
                load = Load(folder, "round-trips", port, "--clients", BUSY, "--seconds", 600)
                busy.enter_context(load).begin()
            print(f"workers {state}")
            # The scrapes' many connections have made that of before leave.
            api = Api(admin)
            by_id = [f"client_id={clients[n % len(clients)]}" for n in range(options.searches)]
            show("  one client by its ID", search(api, by_id))
            show("  one client that is not there", search(api, ["client_id=nobody"] * options.searches))
            show("  all sessions, by username", search(api, ["username=nobody"] * options.searches))
            for name, extra in ("connected", ()), ("not yet connected", ("--fresh",)):
                command = ("--clients", SCRAPERS, "--total", 20 * SCRAPERS, *extra)
                with Load(folder, "scrape", admin, *command) as scrapers:
                    before = admin_cpu_ns(proxy)
                    figures = scrapers.run()
                    each = (admin_cpu_ns(proxy) - before) / 20 / SCRAPERS / 1000
                show(f"  {SCRAPERS} scrapes at once, {name}", figures, f"{each:.1f} µs of CPU each")

    print("clients' QoS 1 round trips")
    for name, disturbed in ("undisturbed", False), ("with searches through all sessions", True):
        with Load(folder, "round-trips", port, "--clients", BUSY, "--seconds", options.seconds) as load:
            with Searching(admin) if disturbed else ExitStack():
                show(f"  {name}", load.run())
    proxy.check_alive()


def start(folder, name, *command, **pipes):
    return Process(name, command, ALL_CORES, folder, **pipes)


def configuration(broker, port, admin, folder):
    return {
        "runtime": {"workers": 2},
        "listeners": [{"name": "mqtt", "bind": f"127.0.0.1:{port}", "pool": "brokers"}],
        "pools": [
            {"name": "brokers", "upstreams": [{"name": "broker-1", "address": f"127.0.0.1:{broker}"}]}
        ],
        "access_log": [{"path": str(folder / "access.log")}],
        "admin": {"bind": f"127.0.0.1:{admin}"},
        "drain": {"timeout": "1s"},
    }


class Load:
    """The load generator, spoken to in lines."""

    def __init__(self, folder, scenario, port, *options):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = (BINARIES / "load", scenario, "--target", f"127.0.0.1:{port}", *options)
        if scenario == "scrape" and os.geteuid() == 0:
            # A scraper has a machine of its own. Here it would wait for a core behind the load.
            command = ("nice", "-n", "-15", *command)
        self.process = start(folder, f"load-{scenario}", *command, **pipes)

    def __enter__(self):
        if (line := self.line()) != "ready":
            raise Failure(f"the load is not ready: {line}")
        return self

    def __exit__(self, *_):
        self.process.stop()

    def begin(self):
        self.process.child.stdin.write("next\n")
        self.process.child.stdin.flush()

    def run(self):
        """The result, as latencies in ms; free of errors."""
        self.begin()
        result = json.loads(self.line())
        if result["errors"] or not result["operations"]:
            raise Failure(f"load: {result}")
        return {name: us / 1000 for name, us in (result["latency_us"] or {}).items()}

    def line(self):
        line = self.process.child.stdout.readline().strip()
        if not line:
            raise Failure(f"the load ended: {self.process.complaint()}")
        return line


class Api:
    """One connection to the admin listener."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Failure(f"{path}: {answer.status} {body.decode()}")
        return json.loads(body)


class Searching:
    """Searches through all sessions, one after the other, as long as the block lasts."""

    def __init__(self, port):
        self.port, self.over = port, threading.Event()
        self.thread = threading.Thread(target=self.search)

    def search(self):
        api = Api(self.port)
        while not self.over.is_set():
            api.get("/api/v1/sessions?username=nobody")

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def search(api, queries):
    took = []
    for query in queries:
        begin = time.perf_counter()
        api.get(f"/api/v1/sessions?{query}")
        took.append((time.perf_counter() - begin) * 1000)
        # As a person would: not back to back.
        time.sleep(0.005)
    cuts = statistics.quantiles(took, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "max": max(took)}


def admin_cpu_ns(proxy):
    """What the admin thread has used of a core."""
    for task in Path(f"/proc/{proxy.child.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "admin":
            return int((task / "schedstat").read_text().split()[0])
    raise Failure("there is no admin thread")


def show(name, figures, note=""):
    columns = " ".join(f"{figures[of]:9.2f}" for of in ("p50", "p99", "max"))
    print(f"{name:44} {columns}  {note}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
