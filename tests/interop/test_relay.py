"""What goes through a session comes out the same: retained messages, wills, QoS 2, big payloads."""

import hashlib
import random

import pytest
from harness.clients import Client, Watch

MIB = 1024 * 1024


@pytest.mark.parametrize("version", [3, 4, 5])
def test_retained(proxy, unique, version):
    # Of two clients with the same home: brokers do not share retained messages here.
    names = [f"{unique}-{number}" for number in range(50)]
    homes = proxy.homes(names, "mqtt")
    publisher, subscriber = [name for name in names if homes[name] == homes[names[0]]][:2]
    with Client(proxy.port, publisher, version) as client:
        client.publish(unique, "kept", qos=1, retain=True)
    with Client(proxy.port, subscriber, version) as client:
        client.subscribe(unique, 1)
        message = client.receive()
        client.publish(unique, "", retain=True)
    assert (message.payload, message.retain) == (b"kept", True)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_will_after_a_reset(proxy, brokers, unique, version):
    will = (f"will/{unique}", "gone", 2)
    with Watch(brokers, f"will/{unique}") as watch:
        Client(proxy.port, unique, version, will=will).die()
        broker, message = watch.receive()
    assert (message.payload, message.qos) == (b"gone", 2)
    assert broker == proxy.homes([unique], "mqtt")[unique]
    end = proxy.entry(event="disconnect", client_id=unique)
    assert (end["end_by"], end["end_phase"], end["end_cause"]) == ("client", "relay", "reset")
    assert end["will"] is True


@pytest.mark.parametrize("version", [3, 4, 5])
def test_no_will_after_a_disconnect(proxy, brokers, unique, version):
    will = (f"will/{unique}", "gone", 2)
    with Watch(brokers, f"will/{unique}") as watch:
        Client(proxy.port, unique, version, will=will).disconnect()
        proxy.entry(event="disconnect", client_id=unique)
        # Anything the broker had to say of the client comes before this.
        home = proxy.homes([unique], "mqtt")[unique]
        watch.clients[home].publish(f"will/{unique}", "marker", qos=2)
        assert watch.receive()[1].payload == b"marker"


@pytest.mark.parametrize("version", [3, 4, 5])
def test_qos_2_exactly_once_in_order(proxy, unique, version):
    sent = [f"{number}".encode() for number in range(200)]
    with Client(proxy.port, unique, version) as client:
        client.subscribe(unique, 2)
        pending = [client.paho.publish(unique, payload, 2) for payload in sent]
        received = [client.receive() for _ in sent]
        for one in pending:
            one.wait_for_publish(30)
        assert client.messages.empty()
    assert [message.payload for message in received] == sent
    assert all(message.qos == 2 and not message.dup for message in received)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_1_mib_both_ways(proxy, unique, version, qos):
    payloads = [random.Random(seed).randbytes(MIB) for seed in range(4)]
    with Client(proxy.port, unique, version) as client:
        client.subscribe(unique, qos)
        for payload in payloads:
            client.publish(unique, payload, qos)
        received = [client.receive().payload for _ in payloads]
    digests = [hashlib.sha256(payload).hexdigest() for payload in received]
    assert digests == [hashlib.sha256(payload).hexdigest() for payload in payloads]
    end = proxy.entry(event="disconnect", client_id=unique)
    assert end["bytes_in"] > 4 * MIB and end["bytes_out"] > 4 * MIB


@pytest.mark.parametrize("version", [3, 4, 5])
def test_pings_keep_an_idle_client(proxy, unique, version):
    with Client(proxy.port, unique, version, keepalive=1) as client:
        client.wait_for_pings(3)
        assert not client.ended.is_set()
        client.subscribe(unique, 1)
        client.publish(unique, "still here")
        assert client.receive().payload == b"still here"
    assert proxy.entry(event="connect", client_id=unique)["keepalive"] == 1
    end = proxy.entry(event="disconnect", client_id=unique)
    assert (end["end_cause"], end["end_phase"]) == ("closed", "relay")


@pytest.mark.parametrize("version", [3, 4, 5])
def test_takeover(proxy, brokers, unique, version):
    home = next(one for one in brokers if one.name == proxy.homes([unique], "mqtt")[unique])
    first = Client(proxy.port, unique, version)
    with Client(proxy.port, unique, version) as second:
        assert first.ended.wait(30)
        second.subscribe(unique, 1)
        second.publish(unique, "mine")
        assert second.receive().payload == b"mine"
    # Mosquitto 2.0.11 takes a session over without a DISCONNECT. A later one says why, with 0x8E
    # (MQTT 5.0 section 3.14.2.1), and then the client must have got it.
    said = broker_says_why(home, f"{unique}-direct", version)
    assert first.disconnect_reason == said
    first.disconnect()
    logged = proxy.wait_for_entries(2, event="connect", client_id=unique)
    assert logged[0]["upstream"] == logged[1]["upstream"]
    # Two workers write to one log: the first to come need not be the first in it.
    address = f"127.0.0.1:{first.local_port}"
    end = proxy.entry(event="disconnect", client=address, client_id=unique)
    assert (end["end_by"], end["end_phase"]) == ("upstream", "relay")


def broker_says_why(broker, client_id, version):
    """The reason that a client whose session is taken over gets without the proxy."""
    first = Client(broker.port, client_id, version)
    with Client(broker.port, client_id, version):
        assert first.ended.wait(30)
    first.disconnect()
    return first.disconnect_reason
