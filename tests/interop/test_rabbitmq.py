"""A RabbitMQ cluster with the MQTT plugin, which serves 3.1 and 3.1.1, and its rolling restart."""

import time

import pytest
from harness.clients import Client
from harness.cluster import ADMISSION, POOL
from harness.fleet import Fleet
from harness.process import wait_for
from harness.rabbitmq import INSTALLED, RabbitMqCluster

pytestmark = pytest.mark.skipif(not INSTALLED, reason="rabbitmq-server is not installed")

CLIENTS = 200
# Seconds between two messages of a client. Two nodes write each of them to disk.
PERIOD = 3.0
# Seconds. Nodes declare a queue and its mirror for every client, and share the cores.
PATIENCE = 120.0
# A starting node accepts connections before it can register client IDs with the other nodes, which
# an MQTT check notices. The timeout is long because a node on a busy machine may be slow; one that
# is down refuses connections at once.
CHECKS = {
    "active": {"type": "mqtt", "interval": "500ms", "timeout": "30s", "fall": 2, "rise": 2},
    "passive": {"failures": 0},
}


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory):
    cluster = RabbitMqCluster(tmp_path_factory.mktemp("rabbitmq"))
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def rabbitmq_proxy(start_proxy, rabbitmq):
    pools = {POOL: rabbitmq.nodes}
    proxy = start_proxy(
        pools, "rabbitmq-proxy", health=CHECKS, admission=ADMISSION, connack_timeout="30s"
    )
    yield proxy
    # Before the nodes stop, which the proxy would report as an error.
    proxy.stop()


@pytest.mark.parametrize("version", [3, 4])
def test_round_trip(rabbitmq_proxy, unique, version):
    with Client(rabbitmq_proxy.port, unique, version) as client:
        client.subscribe(unique, 1)
        client.publish(unique, "hello", qos=1)
        message = client.receive()
    assert (message.payload, message.qos) == (b"hello", 1)
    entry = rabbitmq_proxy.entry(event="connect", client_id=unique)
    home = rabbitmq_proxy.homes([unique], POOL)[unique]
    assert (entry["protocol_version"], entry["upstream"]) == (version, home)


@pytest.mark.parametrize("version", [3, 4])
def test_persistent_session(rabbitmq, rabbitmq_proxy, unique, version):
    with Client(rabbitmq_proxy.port, unique, version, clean=False) as client:
        client.subscribe(unique, 1)
    rabbitmq_proxy.entry(event="disconnect", client_id=unique)
    # Any node of the cluster will do.
    with Client(rabbitmq.nodes[0].port, f"{unique}-publisher") as publisher:
        publisher.publish(unique, "queued", qos=1)
    with Client(rabbitmq_proxy.port, unique, version, clean=False) as client:
        assert client.receive().payload == b"queued"
        # RabbitMQ says so to a 3.1 client too, where the bit is only reserved: it is passed on,
        # and not read.
        assert client.session_present
    logged = rabbitmq_proxy.wait_for_entries(2, event="connect", client_id=unique)
    assert sorted(one["session_present"] for one in logged) == [False, version == 4]


def test_rolling_restart(rabbitmq, rabbitmq_proxy, unique, say):
    """The nodes stop in turn while clients send and receive: each client moves to a live node, and
    its session has every message that was acknowledged."""
    proxy, began = rabbitmq_proxy, time.monotonic()
    orders = proxy.orders([f"{unique}-{number}" for number in range(CLIENTS)], POOL)
    # The nodes that should have served each client, in order.
    visits = {name: [order[0]] for name, order in orders.items()}

    def is_up(node):
        return (node.name,) in proxy.metrics("upstream_up", "upstream")

    with Fleet(proxy.port, orders, versions=(4,), period=PERIOD, patience=PATIENCE) as fleet:
        for node in rabbitmq.nodes:
            fleet.wait_for_messages(1)
            for name, order in orders.items():
                if visits[name][-1] == node.name:
                    visits[name].append(next(one for one in order if one != node.name))

            def served_elsewhere(node=node):
                fleet.wait_until(
                    f"its clients back while {node.name} is down",
                    lambda member: len(member.accepted) == len(visits[member.client_id]),
                )
                fleet.wait_for_messages(1)
                wait_for("the verdict", lambda: not is_up(node))

            rabbitmq.restart(node, served_elsewhere)
            wait_for(f"{node.name} in service", lambda node=node: is_up(node))
        fleet.wait_for_messages(1)
        fleet.settle()

    moves = sum(map(len, visits.values())) - CLIENTS
    for member in fleet:
        assert (len(member.lost), member.refused) == (len(visits[member.client_id]) - 1, [])
        # It subscribed once, so that its session has outlived every restart, and has received every
        # message: QoS 1 allows for duplicates, and not for a loss.
        assert member.first == 0
        assert member.acknowledged == set(member.received) == set(range(member.sent))

    for name, nodes in visits.items():
        logged = proxy.wait_for_entries(len(nodes), event="connect", client_id=name)
        assert [one["upstream"] for one in logged] == nodes
        assert [one["session_present"] for one in logged] == [False] + [True] * (len(nodes) - 1)
        ends = proxy.wait_for_entries(len(nodes), event="disconnect", client_id=name)
        assert [one["upstream"] for one in ends] == nodes
        # After the client's own DISCONNECT either side may close first.
        assert {one["end_by"] for one in ends[:-1]} == {"upstream"}
        assert "client_disconnect" in ends[-1]

    sent = sum(member.sent for member in fleet)
    again = sum(len(member.received) for member in fleet) - sent
    say(
        f"rolling restart of {len(rabbitmq.nodes)} nodes in {time.monotonic() - began:.0f} s: "
        f"{CLIENTS} clients moved {moves} times, {sent} messages, none lost, {again} twice"
    )
