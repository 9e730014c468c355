"""Brokers that reset, refuse and refer: what a client sees is the best answer of the pool."""

import socket

import pytest
from harness.clients import USE_ANOTHER_SERVER, Client
from harness.cluster import POOL
from harness.process import LOOPBACK, PATIENCE
from harness.scripted import RESET, ScriptedBroker, connack, read_packet

# CONNACK codes: MQTT 3.1.1 table 3.1, 5.0 table 3-1.
UNAVAILABLE_3, UNAVAILABLE, BUSY, QUOTA = 3, 0x88, 0x89, 0x97
# Properties: 5.0 section 2.2.2.2.
SERVER_REFERENCE, REASON_STRING = 0x1C, 0x1F
# A CONNECT of client ID "a" with clean start.
CONNECT = {
    4: b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a",
    5: b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a",
}


@pytest.fixture
def scripted():
    """Starts brokers that answer with these bytes."""
    started = []

    def start(name, answer):
        started.append(ScriptedBroker(name, answer))
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


def ordered_id(proxy, names):
    """A client ID whose brokers are tried in this order."""
    orders = proxy.orders([f"device-{number}" for number in range(500)], POOL)
    return next(name for name, order in orders.items() if order == names)


def tries(proxy):
    return proxy.metrics("upstream_tries_total", "upstream", "outcome")


BAD = [
    (3, UNAVAILABLE_3),
    (4, UNAVAILABLE_3),
    (5, UNAVAILABLE),
    (5, BUSY),
    (5, QUOTA),
    (5, USE_ANOTHER_SERVER),
    (3, RESET),
    (4, RESET),
    (5, RESET),
]


@pytest.mark.parametrize(
    ("version", "answer"), BAD, ids=lambda value: "reset" if value is RESET else str(value)
)
def test_the_next_one_takes_it(cluster, scripted, version, answer):
    bad = scripted("bad", RESET if answer is RESET else connack(version, answer))
    good = cluster.brokers["broker-1"]
    proxy = cluster.serve([bad, good])
    name = ordered_id(proxy, ["bad", "broker-1"])
    with Client(proxy.port, name, version) as client:
        client.subscribe(name, 1)
        client.publish(name, "round")
        assert client.receive().payload == b"round"
        assert not client.ended.is_set()
    entry = proxy.entry(event="connect")
    assert (entry["upstream"], entry["tries"], entry["route"]) == ("broker-1", 2, "fallback")
    assert (entry["connack"], len(bad.connects)) == (0, 1)
    outcome = "no_connack" if answer is RESET else "refused"
    assert tries(proxy) == {("bad", outcome): 1, ("broker-1", "accepted"): 1}


@pytest.mark.parametrize("by", ["name", "address", "stranger"])
def test_server_reference(cluster, scripted, by):
    last = cluster.brokers["broker-2"]
    named = {
        "name": "broker-2",
        "address": f"{LOOPBACK}:{last.port}",
        # Of TEST-NET-1 (RFC 5737), and no broker of the pool: not for the proxy to follow.
        "stranger": "192.0.2.1:1883",
    }[by]
    # A list, of which the first that is known counts (5.0 section 4.13).
    reference = (SERVER_REFERENCE, f"elsewhere.example {named}")
    bad = scripted("bad", connack(5, USE_ANOTHER_SERVER, reference))
    proxy = cluster.serve([bad, cluster.brokers["broker-1"], last])
    name = ordered_id(proxy, ["bad", "broker-1", "broker-2"])
    with Client(proxy.port, name, 5):
        pass
    entry = proxy.entry(event="connect")
    expected = ("broker-1", "fallback") if by == "stranger" else ("broker-2", "referred")
    assert (entry["upstream"], entry["route"], entry["tries"]) == (*expected, 2)


@pytest.mark.parametrize(
    ("version", "codes"),
    [
        (4, [UNAVAILABLE_3] * 3),
        (5, [UNAVAILABLE, BUSY, QUOTA]),
        (5, [BUSY, USE_ANOTHER_SERVER, UNAVAILABLE]),
    ],
)
def test_when_all_refuse_the_last_word_counts(cluster, scripted, version, codes):
    names = ["first", "second", "third"]
    answers = {
        name: connack(version, code, (REASON_STRING, f"says {name}"))
        for name, code in zip(names, codes, strict=True)
    }
    brokers = [scripted(name, answer) for name, answer in answers.items()]
    proxy = cluster.serve(brokers)
    order = proxy.orders(["a"], POOL)["a"]
    last = order[-1]
    with socket.create_connection((LOOPBACK, proxy.port), timeout=PATIENCE) as sock:
        sock.sendall(CONNECT[version])
        assert read_packet(sock) == answers[last]
        assert sock.recv(1) == b""
    refused = Client(proxy.port, "a", version)
    # paho turns 3.1.1's code into 5.0's.
    assert refused.connack == (UNAVAILABLE if version == 4 else answers[last][3])
    refused.disconnect()
    assert [len(broker.connects) for broker in brokers] == [2, 2, 2]
    logged = proxy.wait_for_entries(2, event="reject")
    assert {one["upstream"] for one in logged} == {last}
    assert {one["connack"] for one in logged} == {answers[last][3]}
    assert {(one["tries"], one["end_by"], one["end_cause"]) for one in logged} == {
        (3, "upstream", "refused")
    }
    # Nobody took the client: that may be the client's doing, and is held against nobody.
    assert proxy.metrics("upstream_ejections_total", "upstream") == {}


@pytest.mark.parametrize(("version", "code"), [(3, 3), (4, 3), (5, UNAVAILABLE)])
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_all_down(cluster, how, version, code):
    proxy = cluster.serve(connack_timeout="200ms")
    for broker in cluster.brokers.values():
        if how == "killed":
            broker.kill()
        else:
            broker.freeze()
    refused = Client(proxy.port, "device", version)
    assert refused.connack == UNAVAILABLE
    refused.disconnect()
    entry = proxy.entry(event="reject")
    assert (entry["connack"], entry["tries"], entry["end_by"]) == (code, 3, "proxy")
    phase, cause = ("dial", "no_upstream") if how == "killed" else ("connack", "timeout")
    assert (entry["end_phase"], entry["end_cause"]) == (phase, cause)
    outcome = "connect_failure" if how == "killed" else "no_connack"
    assert tries(proxy) == {(name, outcome): 1 for name in cluster.brokers}
    if how == "killed":
        # The proxy has asked them itself, and says so once.
        proxy.process.wait_until("serves nobody", lambda: "serves nobody" in proxy.process.text())
        proxy.stop(errors=1)
