"""The proxy under test: its configuration, its access log and its metrics."""

import json
import os
import re
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

from .process import LOOPBACK, Process, free_port, wait_for

ROOT = Path(__file__).resolve().parents[3]

LISTENING = re.compile(r"INFO listening listener=(\S+) address=\S+:(\d+)")
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


def binary():
    """The proxy to test: MQTT_LB, or the newest that cargo has built."""
    if named := os.environ.get("MQTT_LB"):
        return Path(named).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [file for kind in ("debug", "release") if (file := target / kind / "mqtt-lb").exists()]
    assert built, "no mqtt-lb: run `cargo build`, or name one in MQTT_LB"
    return max(built, key=lambda file: file.stat().st_mtime)


class Proxy:
    """A running proxy with two listeners for each pool: one of the pool's name, and one for
    WebSocket, whose name is that with "-ws"; with `secured` two more, "-tls" and "-wss".

    `websocket` and `secured` (`tls`) are what these are configured with, `token_file` what its
    admin listener is, `logs` its access logs other than the one that the tests read, and `timeouts`
    the section of that name. `listener` has further keys of every listener, `keys` of every pool.
    """

    def __init__(
        self,
        folder,
        pools,
        name="mqtt-lb",
        websocket=None,
        secured=None,
        token_file=None,
        logs=(),
        timeouts=None,
        listener=None,
        **keys,
    ):
        self.folder, self.name = Path(folder), name
        self.log = self.folder / f"{name}.log"
        self.file = self.folder / f"{name}.yaml"
        self.admin = free_port()
        self.websocket = websocket or {"path": "/mqtt"}
        self.secured = secured
        self.token_file = token_file
        self.logs = logs
        self.timeouts = timeouts or {}
        self.listener = listener or {}
        self.file.write_text(json.dumps(self.config(pools, keys), indent=2))
        self.starts = 0
        self.start()

    def config(self, pools, keys):
        wrappings = {"": {}, "-ws": {"websocket": self.websocket}}
        if self.secured:
            secured = {f"-{name}": {"tls": self.secured} for name in ("tls", "wss")}
            secured["-wss"] |= wrappings["-ws"]
            wrappings |= secured
        return {
            "listeners": [
                {"name": pool + suffix, "bind": f"{LOOPBACK}:0", "pool": pool}
                | wrapping
                | self.listener
                for suffix, wrapping in wrappings.items()
                for pool in pools
            ],
            "pools": [
                {
                    "name": pool,
                    "upstreams": [
                        {"name": broker.name, "address": f"{LOOPBACK}:{broker.port}"}
                        for broker in brokers
                    ],
                    **keys,
                }
                for pool, brokers in pools.items()
            ],
            "runtime": {"workers": 2},
            "drain": {"timeout": "1s"},
            "timeouts": self.timeouts,
            "access_log": [{"path": str(self.log), "format": "json"}, *self.logs],
            "admin": {"bind": f"{LOOPBACK}:{self.admin}"}
            | ({"token_file": str(self.token_file)} if self.token_file else {}),
        }

    def start(self):
        self.starts += 1
        command = [binary(), "run", "-c", self.file]
        self.process = Process(f"{self.name}.{self.starts}", command, self.folder)
        listeners = len(json.loads(self.file.read_text())["listeners"])

        def ports():
            found = dict(LISTENING.findall(self.process.text()))
            return found if len(found) == listeners else None

        found = self.process.wait_until("its listeners", ports)
        self.ports = {name: int(port) for name, port in found.items()}

    @property
    def port(self):
        """Of the first listener."""
        return next(iter(self.ports.values()))

    def url(self):
        return f"mqtt://{LOOPBACK}:{self.port}"

    def ws_url(self):
        """Of the first pool."""
        return f"ws://{LOOPBACK}:{self.port_of('ws')}{self.websocket['path']}"

    def tls_url(self):
        """Of the first pool; the certificate is localhost's."""
        return f"mqtts://localhost:{self.port_of('tls')}"

    def wss_url(self):
        """Of the first pool; the certificate is localhost's."""
        return f"wss://localhost:{self.port_of('wss')}{self.websocket['path']}"

    def port_of(self, transport):
        """Of the first pool."""
        return next(port for name, port in self.ports.items() if name.endswith(f"-{transport}"))

    def stop(self, errors=0):
        """Stops it, and holds it to an orderly end after so many errors in its log."""
        code = self.process.stop()
        output = self.process.text()
        counted = (code, output.count("panicked"), output.count(" ERROR "))
        assert counted == (0, 0, errors), output

    def kill(self):
        if self.process.child.poll() is None:
            self.process.kill()

    def orders(self, ids, pool):
        """Per client ID the brokers in the order they are tried, as `mqtt-lb route` has it."""
        command = [binary(), "route", "--json", "-c", self.file, "--pool", pool, "--", *ids]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        routed = map(json.loads, printed.splitlines())
        return {one["client_id"]: one["brokers"] for one in routed}

    def homes(self, ids, pool):
        """The first broker of each client ID."""
        return {name: brokers[0] for name, brokers in self.orders(ids, pool).items()}

    def entries(self, **fields):
        """The access log's lines that have these fields; None asks for a field to be absent."""
        # A line is whole once its line feed is there.
        lines = self.log.read_text().split("\n")[:-1]
        every = map(json.loads, lines)
        return [one for one in every if all(one.get(k) == v for k, v in fields.items())]

    def wait_for_entries(self, count, **fields):
        """Waits for so many lines, and no more, that have these fields."""
        what = f"{count} log lines with {fields}"
        found = wait_for(what, lambda: len(seen := self.entries(**fields)) >= count and seen)
        assert len(found) == count, f"instead of {what}: {found}"
        return found

    def entry(self, **fields):
        """Waits for such a line, the only one."""
        return self.wait_for_entries(1, **fields)[0]

    def get(self, path):
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metrics(self, name, *labels):
        """The non-zero samples of a family, by the values of these labels."""
        counted = Counter()
        for line in self.get("/metrics").splitlines():
            sample = SAMPLE.match(line)
            if sample and sample[1] == f"mqtt_lb_{name}" and float(sample[3]):
                values = dict(LABEL.findall(sample[2] or ""))
                counted[tuple(values[label] for label in labels)] += float(sample[3])
        return counted


class BehindBalancer(Proxy):
    """A proxy whose clients all come through balancers on this host."""

    def config(self, *of):
        config = super().config(*of)
        for listener in config["listeners"]:
            listener["accept_proxy_protocol"] = {"from": [LOOPBACK]}
        return config
