"""The metrics: of a form that Prometheus likes, and of one mind with the access log."""

import socket
import subprocess
from collections import Counter

import pytest
from harness.brokers import Mosquitto
from harness.clients import Client
from harness.process import LOOPBACK, PATIENCE

USERS = {"alice": "rabbit-hole"}


@pytest.fixture(scope="module")
def guarded(folder):
    """A broker that wants to know who comes."""
    broker = Mosquitto(folder, "guarded", users=USERS)
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def busy(start_proxy, brokers, guarded):
    """A proxy that has seen sessions and refusals of every kind; one session still goes on."""
    proxy = start_proxy({"mqtt": brokers, "guarded": [guarded]}, "busy")
    for number in range(30):
        version = (3, 4, 5)[number % 3]
        with Client(proxy.port, f"busy-{number}", version) as client:
            client.subscribe("busy", 1)
            client.publish("busy", b"x" * 10_000)
            client.receive()
    with Client(proxy.port, "", 5):
        pass
    Client(proxy.port, "busy-reset").die()

    with Client(proxy.ports["guarded"], "busy-alice", 5, user="alice", word=USERS["alice"]):
        pass
    for version in (3, 4, 5):
        name = f"busy-mallory-{version}"
        refused = Client(proxy.ports["guarded"], name, version, user="alice", word="guess")
        assert refused.connack == 0x87
        refused.disconnect()

    for nonsense in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xc0\x00",
        # A CONNECT of protocol level 9.
        b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00",
    ):
        with socket.create_connection((LOOPBACK, proxy.port), timeout=PATIENCE) as sock:
            sock.sendall(nonsense)
            while sock.recv(1024):
                pass

    staying = Client(proxy.port, "busy-staying")
    # 30 of all versions, one without an ID, one reset, alice and the one that stays.
    proxy.wait_for_entries(34, event="connect")
    proxy.wait_for_entries(33, event="disconnect")
    # Three of mallory's and four that were no CONNECT, or none of a known version.
    proxy.wait_for_entries(7, event="reject")
    try:
        yield proxy
    finally:
        staying.disconnect()


def test_promtool(busy):
    metrics = busy.get("/metrics").encode()
    command = ["promtool", "check", "metrics"]
    checked = subprocess.run(command, input=metrics, capture_output=True, timeout=PATIENCE)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_agree_with_the_log(busy):
    connects, ends = busy.entries(event="connect"), busy.entries(event="disconnect")
    rejects = busy.entries(event="reject")

    def count(entries, *fields):
        return Counter(tuple(str(one.get(field)) for field in fields) for one in entries)

    every = connects + rejects
    assert busy.metrics("connections_total", "listener") == count(every, "listener")
    assert busy.metrics("connections_active", "listener") == {("mqtt",): 1}
    sessions = count(connects, "listener", "protocol_version")
    assert busy.metrics("sessions_total", "listener", "version") == sessions
    ended = count(ends + rejects, "end_by", "end_phase", "end_cause")
    assert busy.metrics("session_ends_total", "by", "phase", "cause") == ended
    assert busy.metrics("rejects_total", "reason") == count(rejects, "end_cause")

    answered = [one for one in every if "upstream" in one]
    broker = ("pool", "upstream")
    answers = count(answered, *broker, "connack_reason")
    assert busy.metrics("connacks_total", *broker, "reason") == answers
    assert busy.metrics("connack_seconds_count", *broker) == count(answered, *broker)
    assert busy.metrics("upstream_connect_seconds_count", *broker) == count(answered, *broker)
    assert busy.metrics("routes_total", "pool", "route") == count(answered, "pool", "route")
    staying = busy.entry(event="connect", client_id="busy-staying")
    assert busy.metrics("upstream_sessions_active", *broker) == count([staying], *broker)
    tries = busy.metrics("upstream_tries_total", "outcome")
    assert tries == {("accepted",): 34, ("refused",): 3}
    assert busy.metrics("access_log_dropped_total") == {}


def test_bytes_agree_with_the_log(busy):
    staying = busy.entry(event="connect", client_id="busy-staying")

    def logged():
        """The bytes of connections that have ended, at the brokers that have no other."""
        total = Counter()
        refused = [one for one in busy.entries(event="reject") if "upstream" in one]
        for one in busy.entries(event="disconnect") + refused:
            if one["upstream"] != staying["upstream"]:
                for direction in ("in", "out"):
                    total[one["pool"], one["upstream"], direction] += one[f"bytes_{direction}"]
        return total

    counted = busy.metrics("bytes_total", "pool", "upstream", "direction")
    assert {of: bytes_ for of, bytes_ in counted.items() if of in logged()} == logged()


def test_refused_by_the_broker(busy):
    # "Not authorized": MQTT 3.1.1 section 3.2.2.3, 5.0 section 3.2.2.2.
    for version, code in ((3, 5), (4, 5), (5, 0x87)):
        entry = busy.entry(event="reject", client_id=f"busy-mallory-{version}")
        assert (entry["protocol_version"], entry["connack"]) == (version, code)
        assert (entry["username"], entry["has_password"]) == ("alice", True)
        assert (entry["end_by"], entry["end_phase"]) == ("upstream", "connack")
        assert entry["end_cause"] == "refused"


def test_no_client_in_a_label(busy):
    metrics = busy.get("/metrics")
    for chosen_by_a_client in ("busy-", "alice", "mallory"):
        assert chosen_by_a_client not in metrics
    assert "rabbit-hole" not in metrics + busy.log.read_text() + busy.process.text()


def test_health(busy):
    assert busy.get("/livez") == "ok\n"
    assert busy.get("/readyz") == "ok\n"
