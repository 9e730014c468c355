"""Active health checks against a real broker, which is to have nothing to say about them."""

import re

import pytest
from harness.brokers import Mosquitto
from harness.process import wait_for
from harness.proxy import Proxy

USERS = {"probe": "rabbit-hole"}

CHECKS = {
    "mqtt": {"type": "mqtt"},
    "mqtt as a user": {"type": "mqtt", "username": "probe", "password_file": "probe.password"},
    "mqtt refused": {"type": "mqtt", "expect": [5]},
    "tcp": {"type": "tcp"},
}

# What mosquitto says of a client that is lost, or that it does not understand.
COMPLAINTS = re.compile(r"error|lost|exceeded|timeout|malformed|invalid|reset|OOM|bad ", re.I)

# Enough to be sure that none complains about the one before.
PROBES = 10


class Checked(Proxy):
    """A proxy that checks its brokers."""

    def __init__(self, folder, broker, check, name):
        self.check = {"interval": "100ms", "timeout": "30s", **check}
        super().__init__(folder, {"mqtt": [broker]}, name)

    def config(self, *of):
        config = super().config(*of)
        config["pools"][0]["health"] = {"active": self.check}
        return config


@pytest.mark.parametrize("kind", CHECKS)
def test_quiet(folder, kind):
    name = f"checked-{kind.replace(' ', '-')}"
    users = USERS if kind in ("mqtt as a user", "mqtt refused") else None
    (folder / "probe.password").write_text(USERS["probe"])
    broker = Mosquitto(folder, name, users=users, extra="log_type all\nlog_timestamp false")
    proxy = None
    try:
        proxy = Checked(folder, broker, CHECKS[kind], f"{name}-proxy")

        def probes(outcome):
            return proxy.metrics("health_checks_total", "outcome")[(outcome,)]

        wait_for("good checks", lambda: probes("ok") >= PROBES)
        assert set(proxy.metrics("health_checks_total", "outcome")) == {("ok",)}
        # A probe that the proxy's end cuts off would not leave politely.
        log = broker.process.text()
        proxy.stop()
    finally:
        if proxy:
            proxy.kill()
        broker.stop()

    if kind == "mqtt refused":
        # Mosquitto does not name the clients that it refuses.
        assert log.count("Sending CONNACK to 127.0.0.1 (0, 5)") >= PROBES
    elif kind != "tcp":
        clients = set(re.findall(r"mqttlb\w+", log))
        assert len(clients) == 1, clients
        client = clients.pop()
        user = ", u'probe'" if users else ""
        assert f"as {client} (p2, c1, k30{user})" in log
        assert log.count(f"Received DISCONNECT from {client}") >= PROBES
        assert log.count(f"Client {client} disconnected.") >= PROBES
        assert f"Client {client} closed its connection" not in log
    complaints = [line for line in log.splitlines() if COMPLAINTS.search(line)]
    assert not complaints, complaints
