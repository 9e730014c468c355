"""RabbitMQ's MQTT plugin, which speaks 3.1 and 3.1.1."""

import pytest
from harness.brokers import RABBITMQ, RabbitMq
from harness.clients import Client

pytestmark = pytest.mark.skipif(not RABBITMQ.exists(), reason="rabbitmq-server is not installed")


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory):
    broker = RabbitMq(tmp_path_factory.mktemp("rabbitmq"))
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def rabbitmq_proxy(start_proxy, rabbitmq):
    return start_proxy({"rabbitmq": [rabbitmq]}, "rabbitmq-proxy")


@pytest.mark.parametrize("version", [3, 4])
def test_round_trip(rabbitmq_proxy, unique, version):
    with Client(rabbitmq_proxy.port, unique, version) as client:
        client.subscribe(unique, 1)
        client.publish(unique, "hello", qos=1)
        message = client.receive()
    assert (message.payload, message.qos) == (b"hello", 1)
    entry = rabbitmq_proxy.entry(event="connect", client_id=unique)
    assert (entry["protocol_version"], entry["upstream"]) == (version, "rabbitmq")


@pytest.mark.parametrize("version", [3, 4])
def test_persistent_session(rabbitmq, rabbitmq_proxy, unique, version):
    with Client(rabbitmq_proxy.port, unique, version, clean=False) as client:
        client.subscribe(unique, 1)
    rabbitmq_proxy.entry(event="disconnect", client_id=unique)
    with Client(rabbitmq.port, f"{unique}-publisher") as publisher:
        publisher.publish(unique, "queued", qos=1)
    with Client(rabbitmq_proxy.port, unique, version, clean=False) as client:
        assert client.receive().payload == b"queued"
        # RabbitMQ says so to a 3.1 client too, where the bit is only reserved: it is passed on,
        # and not read.
        assert client.session_present
    logged = rabbitmq_proxy.wait_for_entries(2, event="connect", client_id=unique)
    assert sorted(one["session_present"] for one in logged) == [False, version == 4]
