"""mosquitto_pub and mosquitto_sub, every kind of CONNECT that they can send."""

import itertools
import subprocess

import pytest
from harness.clients import Client, Watch
from harness.process import LOOPBACK, PATIENCE, Process, wait_for

LEVELS = {"mqttv31": 3, "mqttv311": 4, "mqttv5": 5}
PROTOCOL_NAMES = {3: "MQIsdp", 4: "MQTT", 5: "MQTT"}
PASSWORD = "tell-nobody-3141592653"

# Into a file the clients would write only once a buffer is full.
LINE_BY_LINE = ["stdbuf", "--output=L"]

CONNECTS = list(itertools.product(LEVELS, (False, True), (False, True), (False, True)))
NAMES = [
    "-".join([version, *itertools.compress(("auth", "will", "id"), has)])
    for version, *has in CONNECTS
]


def arguments(proxy, unique, version, auth, will, named):
    given = ["-h", LOOPBACK, "-p", str(proxy.port), "-V", version, "-t", unique]
    if auth:
        given += ["-u", f"user-{unique}", "-P", PASSWORD]
    if will:
        given += ["--will-topic", f"will/{unique}", "--will-payload", "gone", "--will-qos", "2"]
    if named:
        given += ["-i", unique]
    return given


def expected(unique, version, auth, will, named):
    """The fields of the log that follow from the arguments."""
    level = LEVELS[version]
    fields = {
        "listener": "mqtt",
        "transport": "tcp",
        "pool": "mqtt",
        "protocol_name": PROTOCOL_NAMES[level],
        "protocol_version": level,
        "bridge": False,
        "username": f"user-{unique}" if auth else None,
        "has_password": auth,
        "will": will,
        "clean_start": True,
        "keepalive": 60,
        "tries": 1,
        "connack": 0,
        "session_present": False,
        "route": "hash",
    }
    if named:
        fields["client_id"] = unique
    elif level > 3:
        # 3.1 knows no empty client ID, so there the clients make one up.
        fields |= {"client_id": "", "route": "empty_id"}
    return fields


def check(proxy, entry, unique, connect):
    fields = expected(unique, *connect)
    assert {name: entry.get(name) for name in fields} == fields
    version, *_, named = connect
    if named:
        assert entry["upstream"] == proxy.homes([unique], "mqtt")[unique]
    elif LEVELS[version] == 3:
        assert entry["client_id"].startswith("mosq-")
        assert entry["upstream"] == proxy.homes([entry["client_id"]], "mqtt")[entry["client_id"]]
    # Only a 5.0 broker tells a client which ID it got.
    assert ("assigned_client_id" in entry) == (LEVELS[version] == 5 and not named)


@pytest.mark.parametrize("connect", CONNECTS, ids=NAMES)
def test_publish(proxy, brokers, unique, connect):
    before = len(proxy.entries(event="connect"))
    with Watch(brokers, unique) as watch:
        command = ["mosquitto_pub", *arguments(proxy, unique, *connect)]
        command += ["-q", "2", "-m", "hello"]
        subprocess.run(command, check=True, timeout=PATIENCE)
        broker, message = watch.receive()
    assert message.payload == b"hello"

    wait_for("one connect", lambda: len(proxy.entries(event="connect")) == before + 1)
    entry = proxy.entries(event="connect")[-1]
    check(proxy, entry, unique, connect)
    assert entry["upstream"] == broker
    end = proxy.entry(event="disconnect", session=entry["session"])
    assert end["end_phase"] == "relay" and end["end_cause"] == "closed"
    assert PASSWORD not in proxy.log.read_text() + proxy.process.text()


@pytest.mark.parametrize("connect", CONNECTS, ids=NAMES)
def test_subscribe(proxy, brokers, unique, connect, folder):
    before = len(proxy.entries(event="connect"))
    command = [*LINE_BY_LINE, "mosquitto_sub", *arguments(proxy, unique, *connect)]
    command += ["-q", "2", "-C", "1", "-d"]
    subscriber = Process(f"sub-{unique}", command, folder)
    try:
        subscriber.wait_until("a SUBACK", lambda: "Subscribed (mid: 1)" in subscriber.text())
        entry = wait_for("one connect", lambda: proxy.entries(event="connect")[before:])[0]
        check(proxy, entry, unique, connect)
        port = next(broker.port for broker in brokers if broker.name == entry["upstream"])
        with Client(port, f"publisher-{unique}") as publisher:
            publisher.publish(unique, "hello", qos=2)
        assert subscriber.wait() == 0
    finally:
        subscriber.kill()
    assert "\nhello\n" in subscriber.text()
    assert PASSWORD not in proxy.log.read_text()


@pytest.mark.parametrize("version", LEVELS)
def test_will_of_a_killed_client(proxy, brokers, unique, version, folder):
    given = arguments(proxy, unique, version, False, True, True)
    command = [*LINE_BY_LINE, "mosquitto_sub", *given, "-d"]
    subscriber = Process(f"sub-{unique}", command, folder)
    try:
        with Watch(brokers, f"will/{unique}") as watch:
            subscriber.wait_until("a SUBACK", lambda: "Subscribed (mid: 1)" in subscriber.text())
            subscriber.kill()
            broker, message = watch.receive()
    finally:
        subscriber.kill()
    assert (message.payload, message.qos) == (b"gone", 2)
    assert broker == proxy.homes([unique], "mqtt")[unique]
    end = proxy.entry(event="disconnect", client_id=unique)
    assert (end["end_by"], end["end_phase"]) == ("client", "relay")
