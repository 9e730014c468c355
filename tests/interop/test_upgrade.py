"""The program is upgraded under sessions of every kind, and none of them notices.

UPGRADE_SESSIONS, UPGRADES and UPGRADE_PAUSE set how many sessions and upgrades there are, and the
seconds of traffic between two upgrades; FLEET names another build of the clients. tests/bench/upgrade.py
runs it for ten minutes.
"""

import json
import os
import re
import signal
import subprocess
import time
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
PAUSE = float(os.environ.get("UPGRADE_PAUSE", 2))

ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)
# User memory that each process may have more than the one before, in bytes: allocators do not fill
# every gap.
SLACK = 4 << 20


class Fleet:
    """The clients, in a process of their own."""

    def __init__(self, sessions, ways, authority, identity):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        example = os.environ.get("FLEET", target / "debug/examples/fleet")
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
    """A proxy with a listener for every way in, to a broker with and one without TLS."""

    def __init__(self, folder, brokers, authority, certificate):
        files = [{"cert": str(certificate), "key": str(certificate)}]
        self.authority = authority
        # The process that serves now; the first one is `self.process`.
        self.pid = None
        secured = {"certificates": files}
        super().__init__(
            folder, {one.name: [one] for one in brokers}, "upgraded", secured=secured
        )
        self.pid = self.process.child.pid

    def config(self, pools, keys):
        mutual = self.secured | {"client_auth": "required", "client_ca": str(self.authority.file)}
        ways = {
            "tcp": {},
            "proxy": {"accept_proxy_protocol": {"from": [LOOPBACK]}},
            "tls12": {"tls": self.secured},
            "tls13": {"tls": self.secured},
            "mtls": {"tls": mutual},
            "ws": {"websocket": self.websocket},
            "wss": {"tls": self.secured, "websocket": self.websocket},
        }
        names = list(pools)
        config = super().config(pools, keys)
        # The next process binds the same addresses.
        config["listeners"] = [
            {"name": way, "bind": f"{LOOPBACK}:{free_port()}", "pool": names[n % len(names)]} | keys
            for n, (way, keys) in enumerate(ways.items())
        ]
        ca = str(self.authority.file)
        config["pools"][1]["tls"] = {"ca": ca, "server_name": "localhost"}
        return config

    def last_upgrade(self):
        return json.loads(self.get("/api/v1/status"))["last_upgrade"]

    def upgrade(self):
        """Upgrades to the same binary, and waits until the process before has ended; its facts."""
        before = self.pid
        answer = subprocess.run(
            [binary(), "ctl", "-c", self.file, "upgrade", "--json"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert answer.returncode == 0, f"{answer.stdout}{answer.stderr}{self.process.text()}"
        self.pid = json.loads(answer.stdout)["pid"]
        assert self.pid != before

        def ended():
            previous = self.last_upgrade()["previous"]
            return previous["state"] == "ended" and previous

        try:
            previous = wait_for("the end of the process before", ended, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.last_upgrade()}") from None
        assert previous["pid"] == before
        wait_for("its exit", lambda: not is_running(before))
        return previous

    def stop_last(self):
        """Stops the process that serves now, which is not a child of this one."""
        os.kill(self.pid, signal.SIGTERM)
        wait_for("the last process to end", lambda: not is_running(self.pid))


def is_running(pid):
    """A process that nobody has waited for has ended too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "\nState:\tZ" not in status


def memory(pid):
    return int(ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def upgraded(folder):
    # Two for each session in the proxy, and one in the clients and in the brokers.
    allow_descriptors(4 * SESSIONS + 1000)
    authority = Authority(folder)
    server = authority.issue("localhost")
    files = f"cafile {authority.file}\ncertfile {server}\nkeyfile {server}"
    brokers = [Mosquitto(folder, "plain"), Mosquitto(folder, "secure", extra=files)]
    proxy = Upgraded(folder, brokers, authority, server)
    try:
        yield proxy
    finally:
        if is_running(proxy.pid):
            os.kill(proxy.pid, signal.SIGKILL)
        for broker in brokers:
            broker.stop()


def test_no_session_notices(upgraded):
    proxy = upgraded
    identity = proxy.authority.issue("client")
    fleet = Fleet(SESSIONS, proxy.ports, proxy.authority, identity)
    try:
        proxy.wait_for_entries(SESSIONS, event="connect")
        used = descriptors(proxy.pid), memory(proxy.pid)
        quiet = [fleet.ask("gap"), time.sleep(2), fleet.ask("gap")][-1]
        print(f"quiet: {quiet}")
        for number in range(UPGRADES):
            began = time.monotonic()
            previous = proxy.upgrade()
            took = time.monotonic() - began
            print(f"upgrade {number + 1}, {took:.2f} s: {fleet.ask('gap')}")
            assert (previous["moved"], previous["stayed"]) == (SESSIONS, {})
            # Round trips through the new process, so that each upgrade meets traffic.
            time.sleep(PAUSE)
        assert descriptors(proxy.pid) <= used[0] + 8
        assert memory(proxy.pid) <= used[1] + SLACK
        active = sum(proxy.metrics("connections_active", "listener").values())
        total = sum(proxy.metrics("connections_total", "listener").values())
        assert (active, total) == (SESSIONS, SESSIONS)
        outcome = fleet.ask("end")
    finally:
        fleet.child.kill()
    counted = {key: value for key, value in outcome.items() if value}
    assert counted.pop("messages") > SESSIONS
    counted.pop("pings")
    assert counted == {"sessions": SESSIONS, "finished": SESSIONS}

    proxy.wait_for_entries(SESSIONS, event="disconnect")
    lines = proxy.entries()
    of_each = Counter((line["client_id"], line["event"]) for line in lines)
    assert len(of_each) == len(lines) == 2 * SESSIONS
    # A session keeps its ID, and all that was known about it.
    begun = {line["session"]: line for line in lines if line["event"] == "connect"}
    for end in proxy.entries(event="disconnect"):
        # Its packets were followed through every process; broker and client may both close first.
        assert end["client_disconnect"] == 0 and end["end_cause"] in ("closed", "reset"), end
        connect = begun[end["session"]]
        kept = {key: value for key, value in connect.items() if key not in ("time", "event")}
        assert kept == {key: end.get(key) for key in kept}
    proxy.stop_last()
    text = proxy.process.text()
    assert (text.count("panicked"), text.count(" ERROR ")) == (0, 0), text
