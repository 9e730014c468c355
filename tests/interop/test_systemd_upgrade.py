"""The package and its units under a real systemd: upgrades, and what ends them.

systemd is process 1 of a machine that is in memory (harness/machine.py). It needs root's rights, and
cargo-deb for the package.
"""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from harness.brokers import Mosquitto
from harness.clients import Client
from harness.machine import Machine, Unsupported
from harness.network import private_network
from harness.process import LOOPBACK, accepts, wait_for
from harness.proxy import ROOT
from harness.shipped import DEPLOY

# Of the configuration that the package brings.
PORT = 1883
# What its pool is, and one that a new configuration does not have: its sessions stay.
SECOND_PORT = 1884
DRAIN = 3
MARKER = "/etc/mqtt-lb/upgrade-with-package"
UNIT_FOLDER = "/etc/systemd/system/mqtt-lb.service.d"
SOCKET_FOLDER = "/etc/systemd/system/mqtt-lb.socket.d"

CONFIG = f"""
listeners:
  - {{ name: mqtt, bind: "0.0.0.0:{PORT}", pool: brokers }}
  - {{ name: second, bind: "0.0.0.0:{SECOND_PORT}", pool: %(second)s }}
%(listeners)s
pools:
  - {{ name: brokers, upstreams: [{{ name: broker, address: "{LOOPBACK}:%(port)s" }}] }}
  - {{ name: %(second)s, upstreams: [{{ name: broker, address: "{LOOPBACK}:%(port)s" }}] }}
drain: {{ timeout: {DRAIN}s }}
access_log: [{{ path: /var/log/mqtt-lb/access.log, format: json }}]
admin: {{ bind: "{LOOPBACK}:9883" }}
"""

pytestmark = pytest.mark.skipif(not shutil.which("cargo-deb"), reason="no cargo-deb")


class Service:
    """The package, installed in a machine; `packages` are the one and its next version."""

    def __init__(self, machine, broker, packages):
        self.machine, self.broker, self.packages = machine, broker, packages
        self.run = machine.run
        self.install(packages[0])

    def install(self, package):
        self.run("dpkg", "--force-downgrade", "-i", f"/mnt/{package.name}")

    def configure(self, second="second", listeners=""):
        keys = {"port": self.broker.port, "second": second, "listeners": listeners}
        self.machine.file("/etc/mqtt-lb/config.yaml").write_text(CONFIG % keys)

    def start(self, **keys):
        """Starts it with no past; its process ID."""
        self.run("systemctl", "stop", "mqtt-lb.socket", "mqtt-lb")
        self.run("systemctl", "reset-failed", "mqtt-lb", check=False)
        self.configure(**keys)
        self.since = self.run("journalctl", "--show-cursor", "-n0").output.split("cursor: ")[1]
        self.run("systemctl", "start", "mqtt-lb")
        return self.pid()

    def show(self, *names):
        shown = self.run("systemctl", "show", "-p", ",".join(names), "mqtt-lb").output
        found = dict(line.split("=", 1) for line in shown.splitlines())
        return [found[name] for name in names]

    def pid(self):
        return int(self.show("MainPID")[0])

    def journal(self):
        """Since its start."""
        since = f"--after-cursor={self.since}"
        return self.run("journalctl", "-o", "cat", "-u", "mqtt-lb", since).output

    def connections(self):
        with urllib.request.urlopen(f"http://{LOOPBACK}:9883/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(r'^mqtt_lb_connections_active{listener="mqtt"} (\d+)$', text, re.MULTILINE)
        return int(found[1]) if found else 0

    def wait_for_main(self, *others):
        """The process ID of the next main process."""
        return wait_for(
            "another main process", lambda: (pid := self.pid()) not in (0, *others) and pid
        )

    def wait_for_status(self, text):
        wait_for(f"status {text!r}", lambda: self.show("StatusText") == [text])

    def upgrade(self):
        before = self.pid()
        self.run("mqtt-lb", "ctl", "upgrade")
        return self.wait_for_main(before)

    def is_running(self, pid):
        return self.run("kill", "-0", pid, check=False).returncode == 0

    def healthy(self, restarts=0):
        shown = self.show("ActiveState", "SubState", "NRestarts")
        assert shown == ["active", "running", str(restarts)], self.journal()

    def stop(self):
        """Stops it in order; the seconds that took."""
        began = time.monotonic()
        self.run("systemctl", "stop", "mqtt-lb")
        took = time.monotonic() - began
        text = self.journal()
        assert self.show("ActiveState", "Result") == ["inactive", "success"], text
        assert "panicked" not in text, text
        assert self.run("pgrep", "-f", "mqtt-lb run", check=False).output == ""
        return took


def build(folder):
    """The package of what cargo has built, and the same as the next version."""
    first, second = folder / "first.deb", folder / "second.deb"
    command = [DEPLOY / "debian/build.sh", "--quiet", "--fast", "--output", first]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PROFILE": "dev"}, check=True)
    files = folder / "files"
    subprocess.run(["dpkg-deb", "-R", first, files], check=True)
    control = files / "DEBIAN/control"
    text = control.read_text()
    version = text.split("Version: ")[1].split("\n")[0]
    control.write_text(text.replace(f"Version: {version}", f"Version: {version}.1"))
    subprocess.run(["dpkg-deb", "-Znone", "-b", files, second], check=True, capture_output=True)
    shutil.rmtree(files)
    return first, second


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    try:
        with private_network():
            broker = machine = None
            try:
                machine = Machine(folder)
                broker = Mosquitto(folder, "broker")
                yield Service(machine, broker, build(folder))
            finally:
                if machine:
                    machine.stop()
                if broker:
                    broker.stop()
    except Unsupported as why:
        pytest.skip(f"no machine with systemd: {why}")
    except OSError as fault:
        pytest.skip(f"network namespaces and nftables need root's rights: {fault}")


@pytest.fixture
def staying(service):
    """After an upgrade, two sessions that moved, and two that stay with the process before."""
    old = service.start()
    moved = [Client(PORT, f"moved-{n}") for n in range(2)]
    stayed = [Client(SECOND_PORT, f"stayed-{n}") for n in range(2)]
    service.configure(second="third")
    new = service.upgrade()
    status = "Serving; connections left with the process before the upgrade: 2"
    service.wait_for_status(status)
    yield old, new, moved, stayed
    for client in moved + stayed:
        client.disconnect()


def test_upgrades_and_a_stop(service):
    pids = [service.start()]
    clients = [Client(PORT, f"client-{n}") for n in range(3)]
    clients[0].subscribe("topic")

    def serves(pid):
        pids.append(pid)
        service.wait_for_status("Serving")
        service.healthy()
        clients[1].publish("topic", "payload")
        assert clients[0].receive().payload == b"payload"
        wait_for("the end of the process before", lambda: not service.is_running(pids[-2]))

    serves(service.upgrade())
    service.run("systemctl", "kill", "--kill-who=main", "-s", "USR2", "mqtt-lb")
    serves(service.wait_for_main(pids[-1]))
    assert len(set(pids)) == 3
    service.run("systemctl", "reload", "mqtt-lb")
    wait_for("the reload", lambda: "reloaded; sessions are kept generation=2" in service.journal())
    assert service.pid() == pids[-1]
    service.healthy()
    assert not any(client.ended.is_set() for client in clients)

    text = service.journal()
    assert (text.count("upgraded: the new process accepts"), text.count(" ERROR ")) == (2, 0), text
    # A drain: systemd does not kill the process although it has not started it.
    assert service.stop() > DRAIN / 2
    text = service.journal()
    assert "ending the sessions over 3s" in text and "SIGKILL" not in text, text
    wait_for("the sessions' ends", lambda: all(client.ended.is_set() for client in clients))


def test_a_stop_drains_both_processes(service, staying):
    service.stop()
    text = service.journal()
    assert text.count("ending the sessions over 3s") == 2, text
    assert text.count("all sessions have ended") == 2, text
    assert "second stop signal" not in text, text


def test_the_new_process_dies_before_the_old_one_ends(service, staying):
    old, new, *_ = staying
    service.run("kill", "-KILL", new)
    service.wait_for_main(old, new)
    service.wait_for_status("Serving")
    assert accepts(PORT)
    service.healthy(restarts=1)
    service.stop()


def test_the_new_process_dies_after_the_old_one(service):
    old = service.start()
    new = service.upgrade()
    wait_for("the end of the process before", lambda: not service.is_running(old))
    service.run("kill", "-KILL", new)
    service.wait_for_main(new)
    service.wait_for_status("Serving")
    service.healthy(restarts=1)
    service.stop()


def test_the_new_process_dies_while_sessions_move(service):
    old = service.start()
    # Without a CONNECT it is in its handshake, which ends before the move does.
    with socket.create_connection((LOOPBACK, PORT)):
        wait_for("the connection", lambda: service.connections() == 1)
        new = service.upgrade()
        service.run("kill", "-KILL", new)
        assert service.wait_for_main(new) == old
        service.wait_for_status("Serving")
        with Client(PORT, "afterwards"):
            pass
    service.run("systemctl", "reload", "mqtt-lb")
    service.healthy()
    service.stop()


def test_activated_sockets_survive(service):
    service.start(second="third")
    service.stop()
    service.run("mkdir", "-p", SOCKET_FOLDER)
    listens = f"[Socket]\nListenStream=\nListenStream=0.0.0.0:{PORT}\n"
    service.machine.file(f"{SOCKET_FOLDER}/listen.conf").write_text(listens)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "mqtt-lb.socket")
    # The first client starts it.
    with Client(PORT, "first"):
        service.upgrade()
        service.wait_for_status("Serving")
        with Client(PORT, "second"):
            pass
        service.healthy()
    service.stop()
    with Client(PORT, "third"):
        service.healthy()
    service.run("systemctl", "stop", "mqtt-lb.socket")
    service.stop()


def test_a_port_below_1024(service):
    service.run("mkdir", "-p", UNIT_FOLDER)
    service.run("cp", "/usr/share/doc/mqtt-lb/examples/privileged-ports.conf", UNIT_FOLDER)
    service.run("systemctl", "daemon-reload")
    low = '  - { name: low-%d, bind: "0.0.0.0:%d", pool: brokers }\n'
    service.start(listeners=low % (1, 883))
    service.configure(listeners=low % (1, 883) + low % (2, 884))
    service.upgrade()
    for port in (883, 884):
        with Client(port, f"port-{port}"):
            pass
    service.healthy()
    service.stop()


def test_the_package(service):
    """An upgrade of it leaves the process, unless the operator says otherwise; a purge leaves
    nothing but the user. It is last because of that."""
    first, second = service.packages
    pid = service.start()
    with Client(PORT, "kept") as client:
        service.install(second)
        assert service.pid() == pid
        service.machine.file(MARKER).touch()
        service.install(first)
        new = service.wait_for_main(pid)
        service.wait_for_status("Serving")
        program = service.run("readlink", f"/proc/{new}/exe").output
        assert program == "/usr/bin/mqtt-lb"
        assert not client.ended.is_set()
        service.healthy()
    service.run("dpkg", "--purge", "mqtt-lb")
    assert service.run("pgrep", "-f", "mqtt-lb run", check=False).output == ""
    # What the tests have added.
    service.run("rm", "-r", UNIT_FOLDER, SOCKET_FOLDER)
    looked = ["/etc", "/usr", "/var", "/run", "-xdev"]
    assert service.run("find", *looked, "-name", "mqtt-lb*").output == ""
