"""The program is upgraded under sessions of every kind, and none of them notices.

UPGRADE_SESSIONS and UPGRADES set how many sessions and upgrades there are.
"""

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from harness.brokers import Mosquitto
from harness.certificates import Authority
from harness.process import LOOPBACK, free_port, wait_for
from harness.proxy import ROOT, Proxy, binary
from harness.storm import allow_descriptors

SESSIONS = int(os.environ.get("UPGRADE_SESSIONS", 700))
UPGRADES = int(os.environ.get("UPGRADES", 5))
# Seconds that an upgrade may take on a busy machine, until the old process has ended.
PATIENCE = 60 + SESSIONS / 50

ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)
# User memory that each process may have more than the one before, in bytes: allocators do not fill
# every gap.
SLACK = 4 << 20


class Fleet:
    """The clients, in a process of their own."""

    def __init__(self, sessions, ways, authority, identity):
        example = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/examples/fleet"
        listed = [f"{name}={LOOPBACK}:{port}" for name, port in ways.items()]
        options = ["--ca", authority.file, "--identity", identity]
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", example, str(sessions), *listed, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.child.stdout.readline() == "ready\n"

    def ask(self, line):
        self.child.stdin.write(f"{line}\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


class Upgraded(Proxy):
    """A proxy with a listener for every way in, to brokers with and without TLS."""

    def config(self, pools, keys):
        config = super().config(pools, keys)
        secured = {"tls": self.secured}
        mutual = {"tls": self.secured | {"client_auth": "require", "client_ca": self.ca}}
        ways = {
            "tcp": {},
            "proxy": {"accept_proxy_protocol": {"from": [LOOPBACK]}},
            "tls12": secured,
            "tls13": secured,
            "mtls": mutual,
            "ws": {"websocket": self.websocket},
            "wss": secured | {"websocket": self.websocket},
        }
        names = list(pools)
        config["listeners"] = [
            {"name": name, "bind": f"{LOOPBACK}:{free_port()}", "pool": names[n % len(names)]} | way
            for n, (name, way) in enumerate(ways.items())
        ]
        config["pools"][1]["tls"] = {"ca": self.ca, "server_name": "localhost"}
        return config

    def pid(self):
        return json.loads(self.get("/api/v1/status"))["pid"]

    def upgrade(self):
        return subprocess.run(
            [binary(), "ctl", "-c", self.file, "upgrade"], capture_output=True, text=True
        )


def memory(pid):
    return int(ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def upgraded(folder):
    allow_descriptors()
    authority = Authority(folder)
    server = authority.issue("localhost")
    plain = Mosquitto(folder, "plain")
    secure = Mosquitto(
        folder, "secure", extra=f"cafile {authority.file}\ncertfile {server}\nkeyfile {server}"
    )
    Upgraded.ca = str(authority.file)
    secured = {"cert": str(server), "key": str(server)}
    proxy = Upgraded(
        folder, {"plain": [plain], "secure": [secure]}, "upgraded", secured=secured
    )
    try:
        yield proxy, authority
        proxy.stop_all()
    finally:
        proxy.kill()
        plain.stop()
        secure.stop()
