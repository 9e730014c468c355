#!/usr/bin/env python3
"""Reloads a proxy again and again under sessions with traffic, and says what that cost.

Everything is on loopback. Sessions are MQTT 3.1.1 to three brokers that send back what they get;
every session sends a numbered PUBLISH every so often and has to get it back before the next. Each
reload changes something: weights, a listener, limits, timeouts, a pool, the access log; every tenth
is of a file that is wrong and has to be refused.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONNACK = b"\x20\x02\x00\x00"


class EchoBroker(asyncio.Protocol):
    """Takes every client, and sends back what comes after its CONNECT."""

    def connection_made(self, transport):
        self.transport, self.greeted = transport, False

    def data_received(self, data):
        if not self.greeted:
            self.greeted = True
            size = 2 + data[1]
            self.transport.write(CONNACK + data[size:])
        else:
            self.transport.write(data)


async def serve_brokers(count, ports):
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(EchoBroker, "127.0.0.1", 0, backlog=8192) for _ in range(count)]
    ports.send([server.sockets[0].getsockname()[1] for server in servers])
    await asyncio.Event().wait()


def brokers(count, ports):
    asyncio.run(serve_brokers(count, ports))


class Session(asyncio.Protocol):
    def __init__(self, number, tally):
        self.name, self.tally, self.sequence, self.owed = f"device-{number}", tally, 0, b""
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        name = self.name.encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
        transport.write(bytes([0x10, len(body)]) + body)
        self.owed = CONNACK

    def data_received(self, data):
        if not self.owed.startswith(data):
            self.tally["wrong bytes"] += 1
            return
        self.owed = self.owed[len(data):]
        if not self.owed:
            if self.ready.done():
                self.tally["round trips"] += 1
            else:
                self.ready.set_result(None)

    def connection_lost(self, error):
        self.tally["sessions lost"] += 1

    def publish(self):
        if self.owed:
            self.tally["late"] += 1
            return
        payload = f"{self.name} {self.sequence}".encode()
        self.sequence += 1
        body = b"\x00\x01t" + payload
        self.owed = bytes([0x30, len(body)]) + body
        self.transport.write(self.owed)


def config(folder, ports, admin, turn):
    """Something else every turn; always the same brokers, whose sessions are to stay."""
    weights = [1 + (turn + broker) % 3 for broker in range(len(ports))]
    upstreams = [
        {"name": f"b{n}", "address": f"127.0.0.1:{port}", "weight": weight}
        for n, (port, weight) in enumerate(zip(ports, weights))
    ]
    pools = [{"name": "brokers", "upstreams": upstreams, "health": {"active": {"type": "tcp"}}}]
    listeners = [{"name": "mqtt", "bind": "127.0.0.1:0", "pool": "brokers"}]
    if turn % 2:
        pools.insert(0, {"name": "spare", "upstreams": upstreams[:1], "admission": {"rate": 9}})
        listeners.append({"name": f"spare-{turn % 5}", "bind": "127.0.0.1:0", "pool": "spare"})
    return {
        "runtime": {"workers": 2},
        "listeners": listeners,
        "pools": pools,
        "limits": {"max_connections_per_ip": 20_000 + turn % 4},
        "timeouts": {"half_close": f"{30 + turn % 3}s"},
        "access_log": [{"path": str(folder / f"access-{turn % 3}.log"), "format": "json"}],
        "admin": {"bind": f"127.0.0.1:{admin}"},
    }


def reload(admin):
    request = urllib.request.Request(f"http://127.0.0.1:{admin}/api/v1/reload", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def usage(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "memory_kib": int(fields["RssAnon"].split()[0]),
        "threads": int(fields["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{process.pid}/fd")),
    }


async def run(args, process, folder, ports, admin, mqtt):
    loop, tally = asyncio.get_running_loop(), Counter()
    sessions = []
    for number in range(args.sessions):
        _, session = await loop.create_connection(lambda n=number: Session(n, tally), "127.0.0.1", mqtt)
        sessions.append(session)
        if number % 200 == 199:
            await asyncio.gather(*(session.ready for session in sessions[-200:]))
    await asyncio.gather(*(session.ready for session in sessions))
    print(f"{len(sessions)} sessions")

    async def traffic():
        slice_count = 50
        while True:
            began = time.monotonic()
            for part in range(slice_count):
                for session in sessions[part::slice_count]:
                    session.publish()
                due = began + (part + 1) * args.every / slice_count
                await asyncio.sleep(max(0, due - time.monotonic()))

    sending = asyncio.create_task(traffic())
    took, samples, outcomes = [], [], Counter()
    pause = args.seconds / args.reloads
    began = time.monotonic()
    for turn in range(1, args.reloads + 1):
        await asyncio.sleep(max(0, began + turn * pause - time.monotonic()))
        wrong = turn % 10 == 0
        text = json.dumps(config(folder, ports, admin, turn))
        (folder / "config.yaml").write_text(text.replace('"limits"', '"limit"') if wrong else text)
        asked = time.monotonic()
        status, answer = await loop.run_in_executor(None, reload, admin)
        took.append(time.monotonic() - asked)
        assert status == (422 if wrong else 200), (turn, status, answer)
        outcomes[json.loads(answer).get("outcome", "refused")] += 1
        samples.append(usage(process))
    seen = tally["round trips"]
    while tally["round trips"] < seen + len(sessions) and not tally["sessions lost"]:
        await asyncio.sleep(0.1)
    sending.cancel()
    first, last = samples[min(9, len(samples) - 1)], samples[-1]
    took.sort()
    print(f"reloads: {dict(outcomes)} in {args.seconds} s")
    print(f"a reload takes: median {statistics.median(took) * 1e3:.1f} ms, "
          f"p99 {took[int(len(took) * 0.99)] * 1e3:.1f} ms, most {took[-1] * 1e3:.1f} ms")
    print(f"traffic: {dict(tally)}")
    for name in first:
        most = max(sample[name] for sample in samples)
        print(f"{name}: {first[name]} after ten reloads, {last[name]} after the last, {most} at most")
    ended = [line for file in folder.glob("access-*.log") for line in file.read_text().splitlines()
             if '"event":"connect"' not in line]
    print(f"ends in the access logs: {len(ended)}")
    return not (tally["sessions lost"] or tally["wrong bytes"] or ended)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/dist/mqtt-lb", type=Path)
    parser.add_argument("--sessions", default=5000, type=int)
    parser.add_argument("--reloads", default=136, type=int)
    parser.add_argument("--seconds", default=600, type=float)
    parser.add_argument("--every", default=2.0, type=float, help="seconds between a session's messages")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        admin = free.getsockname()[1]
    here, there = multiprocessing.Pipe()
    broker = multiprocessing.Process(target=brokers, args=(3, there), daemon=True)
    broker.start()
    ports = here.recv()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "config.yaml").write_text(json.dumps(config(folder, ports, admin, 0)))
        with (folder / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [args.binary, "run", "-c", folder / "config.yaml"], stderr=stderr)
        try:
            while "admin listening" not in (said := (folder / "stderr").read_text()):
                assert process.poll() is None, said
                time.sleep(0.02)
            line = next(line for line in said.splitlines() if "listener=mqtt" in line)
            mqtt = int(line.split("address=")[1].split()[0].rsplit(":", 1)[1])
            good = asyncio.run(run(args, process, folder, ports, admin, mqtt))
        finally:
            process.terminate()
            print(f"exit code {process.wait(60)}")
            broker.terminate()
        said = (folder / "stderr").read_text()
        assert "panicked" not in said, said
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
