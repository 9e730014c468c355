"""Brokers other than Mosquitto and RabbitMQ do behind the proxy what they do without it."""

import socket
import struct

import pytest
from harness.clients import Client
from harness.other_brokers import KINDS
from harness.process import LOOPBACK, PATIENCE
from harness.scripted import read_packet

MIB = 1024 * 1024
NAMES = {3: b"MQIsdp", 4: b"MQTT", 5: b"MQTT"}
# "Server unavailable": code 3 (3.1.1 section 3.2.2.3), and 0x88 (5.0 section 3.2.2.2).
UNAVAILABLE = {3: b"\x20\x02\x00\x03", 4: b"\x20\x02\x00\x03", 5: b"\x20\x03\x00\x88\x00"}

# Each kind with each version that it serves, and with each that it refuses.
SERVED = [(kind, version) for kind in KINDS for version in kind.versions]
# 3.1 demands a client ID.
SERVED_EMPTY = [cell for cell in SERVED if cell[1] > 3]
REFUSED = [(kind, version) for kind in KINDS for version in NAMES if version not in kind.versions]


def named(cells):
    return [f"{kind.__name__}-{version}" for kind, version in cells]


def those_that(can):
    cells = [cell for cell in SERVED if can(cell[0])]
    return pytest.mark.parametrize("kind, version", cells, ids=named(cells))


every_one = those_that(lambda _kind: True)


@pytest.fixture(scope="module")
def others(folder):
    started = {}
    try:
        for kind in KINDS:
            started[kind] = kind(folder)
        yield started
    finally:
        for broker in started.values():
            broker.stop()


@pytest.fixture(scope="module")
def front(start_proxy, others):
    """One proxy with a pool for each of them."""
    proxy = start_proxy({broker.name: [broker] for broker in others.values()}, "other-brokers")
    yield proxy
    proxy.stop()


@pytest.fixture
def connect(front, others, kind, version):
    """Connects through the proxy; `direct`, without it."""
    broker = others[kind]
    user, word = kind.login

    def connect(client_id, direct=False, **options):
        port = broker.port if direct else front.ports[broker.name]
        return Client(port, client_id, version, user=user, word=word, **options)

    return connect


@every_one
def test_round_trip(front, connect, unique, kind, version):
    with connect(unique) as client:
        for qos in (0, 1, 2):
            client.subscribe(f"{unique}/{qos}", qos)
            client.publish(f"{unique}/{qos}", "hello", qos)
            message = client.receive()
            assert (message.topic, message.payload) == (f"{unique}/{qos}", b"hello")
            assert message.qos == qos
    entry = front.entry(event="connect", client_id=unique)
    assert entry["upstream"] == entry["pool"] == kind.__name__.lower()
    assert (entry["protocol_version"], entry["connack"], entry["tries"]) == (version, 0, 1)
    end = front.entry(event="disconnect", client_id=unique)
    assert (end["end_phase"], end["end_cause"]) == ("relay", "closed")


@every_one
def test_qos_2_in_order(connect, unique):
    sent = [f"{number}".encode() for number in range(300)]
    with connect(unique) as client:
        client.subscribe(unique, 2)
        pending = [client.paho.publish(unique, payload, 2) for payload in sent]
        assert [client.receive().payload for _ in sent] == sent
        for one in pending:
            one.wait_for_publish(PATIENCE)


@every_one
def test_a_big_payload(connect, unique):
    payload = bytes(range(256)) * (MIB // 256)
    with connect(unique) as client:
        client.subscribe(unique, 1)
        client.publish(unique, payload)
        assert client.receive().payload == payload


@every_one
def test_retained(connect, unique):
    with connect(f"{unique}-pub") as client:
        client.publish(unique, "kept", retain=True)
    with connect(f"{unique}-sub") as client:
        client.subscribe(unique, 1)
        message = client.receive()
        client.publish(unique, "", retain=True)
    assert (message.payload, message.retain) == (b"kept", True)


@every_one
def test_will(connect, unique):
    """Published after a reset, and not after a DISCONNECT."""
    with connect(f"{unique}-watch", direct=True) as watch:
        watch.subscribe(f"will/{unique}", 1)
        connect(f"{unique}-leaves", will=(f"will/{unique}", "left", 1)).disconnect()
        connect(f"{unique}-dies", will=(f"will/{unique}", "gone", 1)).die()
        assert watch.receive().payload == b"gone"
        assert watch.messages.empty()


@those_that(lambda kind: kind.queues)
def test_session(front, connect, unique, version):
    with connect(unique, clean=False) as client:
        assert not client.session_present
        client.subscribe(unique, 1)
    front.entry(event="disconnect", client_id=unique)
    with connect(f"{unique}-pub", direct=True) as publisher:
        publisher.publish(unique, "queued")
    with connect(unique, clean=False) as client:
        assert client.session_present
        assert client.receive().payload == b"queued"
    logged = front.wait_for_entries(2, event="connect", client_id=unique)
    # 3.1 knows no Session Present.
    assert [one["session_present"] for one in logged] == [False, version > 3]


@those_that(lambda kind: kind.takes_over)
def test_takeover(connect, unique):
    """The older connection ends, and for the reason that the broker says without a proxy."""

    def taken_over(direct):
        first = connect(f"{unique}-{direct}", direct)
        with connect(f"{unique}-{direct}", direct) as second:
            assert first.ended.wait(PATIENCE)
            second.subscribe(unique, 1)
            second.publish(unique, "mine")
            assert second.receive().payload == b"mine"
        first.disconnect()
        return first.disconnect_reason

    assert taken_over(direct=False) == taken_over(direct=True)


def test_keep_alive(front, others, unique):
    """PINGRESPs come from every broker; all are tested at once, as it takes two seconds."""
    clients = [
        Client(
            front.ports[others[kind].name], f"{unique}-{version}", version,
            keepalive=1, user=kind.login[0], word=kind.login[1],
        )
        for kind, version in SERVED
    ]  # fmt: skip
    for client in clients:
        client.wait_for_pings(2)
    for client in clients:
        assert not client.ended.is_set()
        client.disconnect()
    front.wait_for_entries(len(SERVED), event="connect", keepalive=1)


@pytest.mark.parametrize("kind, version", SERVED_EMPTY, ids=named(SERVED_EMPTY))
def test_an_empty_client_id(front, connect, kind, version):
    """A 5.0 broker tells the client the ID that it got (section 3.2.2.3.7)."""
    with connect("") as client:
        client.subscribe("x")
    name = kind.__name__.lower()
    entry = front.entry(event="connect", client_id="", upstream=name, protocol_version=version)
    assert ("assigned_client_id" in entry) == (version == 5)


@pytest.mark.parametrize(
    "kind, version", SERVED + REFUSED, ids=named(SERVED) + [f"not-{one}" for one in named(REFUSED)]
)
def test_the_first_answer(front, others, kind, version, unique):
    """The answer to a CONNECT is the broker's own, byte for byte, whether it serves the version or
    not. Where the broker closes without an answer, the proxy says that no broker is available."""
    broker = others[kind]

    def answer(port, client_id):
        with socket.create_connection((LOOPBACK, port), PATIENCE) as sock:
            sock.sendall(a_connect(version, client_id, *kind.login))
            try:
                return read_packet(sock)
            except ConnectionResetError:
                return None

    said = answer(broker.port, f"{unique}-a")
    assert (said is not None and said[3] == 0) == (version in kind.versions)
    expected = UNAVAILABLE[version] if said is None else said
    assert answer(front.ports[broker.name], f"{unique}-b") == expected


def a_connect(version, client_id, user, word):
    """A CONNECT with clean start, and a login if there is one."""

    def text(data):
        return struct.pack(">H", len(data)) + data

    flags = 0x02 | (0xC0 if user else 0)
    body = text(NAMES[version]) + bytes([version, flags]) + struct.pack(">H", 60)
    body += b"\0" if version == 5 else b""
    # 3.1 allows an ID at most 23 characters (its section 3.1).
    body += text(client_id[-23:].encode())
    if user:
        body += text(user.encode()) + text(word.encode())
    # Less than 128 bytes, whose length takes one byte.
    assert len(body) < 128
    return bytes([0x10, len(body)]) + body
