"""A proxy with every kind of session, which is upgraded, and its clients."""

import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from .brokers import Mosquitto
from .certificates import Authority
from .process import LOOPBACK, free_port, wait_for
from .proxy import ROOT, Proxy, binary
from .storm import allow_descriptors

ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)


class Fleet:
    """The clients, in a process of their own."""

    def __init__(self, sessions, proxy, *options):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        example = os.environ.get("FLEET", target / "debug/examples/fleet")
        listed = [f"{name}={LOOPBACK}:{port}" for name, port in proxy.ports.items()]
        identity = proxy.authority.issue("client")
        secured = ["--ca", proxy.authority.file, "--identity", identity]
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", example, str(sessions), *listed, *secured, *options],
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
        for pool in config["pools"]:
            # Other tests may keep the machine busy.
            pool["connect_timeout"] = "10s"
        config["pools"][1]["tls"] = {"ca": ca, "server_name": "localhost"}
        return config

    def last_upgrade(self):
        return json.loads(self.get("/api/v1/status"))["last_upgrade"]

    def upgrade(self, patience):
        """Upgrades to the same binary, and waits until the process before has ended; its facts."""
        before = self.pid
        answer = subprocess.run(
            [binary(), "ctl", "-c", self.file, "upgrade", "--json"],
            capture_output=True,
            text=True,
            timeout=patience,
        )
        assert answer.returncode == 0, f"{answer.stdout}{answer.stderr}{self.process.text()}"
        self.pid = json.loads(answer.stdout)["pid"]
        assert self.pid != before

        def ended():
            previous = self.last_upgrade()["previous"]
            return previous["state"] == "ended" and previous

        try:
            previous = wait_for("the end of the process before", ended, patience)
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


@contextmanager
def upgraded_proxy(folder, sessions):
    """The proxy for so many sessions, with its two brokers."""
    # Two for each session in the proxy, and one in the clients and in the brokers.
    allow_descriptors(4 * sessions + 1000)
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
