"""Client IDs that the proxy assigns, requires and rewrites, at real brokers."""

import re
import subprocess

import pytest
from harness.brokers import Mosquitto
from harness.clients import Client, publish_everywhere
from harness.other_brokers import Ejabberd
from harness.process import LOOPBACK, PATIENCE

CLIENTS = 100
# Each is a process of its own.
MOSQUITTO_CLIENTS = 20
ASSIGNED = re.compile(r"[0-9a-zA-Z]{22}")
ASSIGN = {"empty_client_id": "assign"}
LEVELS = {4: "mqttv311", 5: "mqttv5"}
# CONNACK codes: MQTT 3.1.1 section 3.2.2.3, 5.0 section 3.2.2.2.
NOT_VALID = 0x85


@pytest.fixture(scope="module")
def pool(request, folder):
    """Three brokers that share nothing."""
    started = []
    try:
        for number in (1, 2, 3):
            name = f"{request.param.__name__.lower()}-{number}"
            started.append(request.param(folder, f"identity-{name}"))
        yield started
    finally:
        for broker in started:
            broker.stop()


@pytest.fixture(scope="module")
def two_proxies(start_proxy, pool):
    """Of one configuration; they know nothing of each other."""
    named = [f"assigning-{pool[0].name}-{number}" for number in (1, 2)]
    proxies = [start_proxy({"mqtt": pool}, name, balance=ASSIGN) for name in named]
    yield proxies
    for proxy in proxies:
        proxy.stop()


@pytest.mark.parametrize("pool", [Mosquitto, Ejabberd], indirect=True)
def test_an_assigned_id_finds_its_session(two_proxies, pool, unique):
    """Every client finds its session through either proxy, by the ID that one of them assigned."""
    first, second = two_proxies
    user, word = getattr(pool[0], "login", (None, None))
    options = {"version": 5, "clean": False, "user": user, "word": word}
    ids = []
    for _ in range(CLIENTS):
        with Client(first.port, "", **options) as client:
            assert not client.session_present
            assert ASSIGNED.fullmatch(client.assigned_id)
            client.subscribe(f"{unique}/{client.assigned_id}", 1)
            ids.append(client.assigned_id)
    assert len(set(ids)) == CLIENTS
    homes = first.homes(ids, "mqtt")
    assert homes == second.homes(ids, "mqtt")
    assert set(homes.values()) == {broker.name for broker in pool}

    for proxy in (second, first):
        messages = [(f"{unique}/{name}", proxy.name) for name in ids]
        publish_everywhere(pool, messages, user=user, word=word)
        for name in ids:
            with Client(proxy.port, name, **options) as client:
                assert client.session_present, f"{name} lost its session"
                assert client.receive().payload == proxy.name.encode()
                assert client.assigned_id is None

    for name in ids:
        told = first.entry(event="connect", assigned_client_id=name)
        assert (told["client_id"], told["broker_client_id"]) == ("", name)
        visits = [told, *(proxy.entry(event="connect", client_id=name) for proxy in two_proxies)]
        assert {one["upstream"] for one in visits} == {homes[name]}
        assert [one["session_present"] for one in visits] == [False, True, True]


@pytest.mark.parametrize("pool", [Mosquitto], indirect=True)
def test_mosquitto_sub(two_proxies, pool, unique):
    """The same with mosquitto_sub, which does not say the ID: the test takes it from the log."""
    first, second = two_proxies
    options = ["-h", LOOPBACK, "-V", "mqttv5", "-q", "1", "-x", "3600"]
    topics = [f"{unique}/{number}" for number in range(MOSQUITTO_CLIENTS)]
    told = []
    for topic in topics:
        # It leaves, by -E, once it has subscribed; its session stays.
        subprocess.run(
            ["mosquitto_sub", *options, "-p", str(first.port), "-u", topic, "-t", topic, "-E"],
            check=True,
            timeout=PATIENCE,
        )
        told.append(first.entry(event="connect", username=topic)["assigned_client_id"])
    publish_everywhere(pool, [(topic, topic) for topic in topics])
    for name, topic in zip(told, topics, strict=True):
        done = subprocess.run(
            ["mosquitto_sub", *options, "-p", str(second.port), "-c", "-i", name, "-C", "1",
             "-t", "another topic"],
            check=True, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.stdout == f"{topic}\n"
        assert second.entry(event="connect", client_id=name)["session_present"]


def test_an_empty_id_of_3_1_1(start_proxy, brokers, unique):
    """A 3.1.1 CONNACK cannot carry the ID, which lasts as long as the connection."""
    proxy = start_proxy({"mqtt": brokers}, "assigning", balance=ASSIGN)
    with Client(proxy.port, "", 4) as client:
        client.subscribe(unique, 1)
        client.publish(unique, "hello")
        assert client.receive().payload == b"hello"
    entry = proxy.entry(event="connect", client_id="")
    assert ASSIGNED.fullmatch(entry["broker_client_id"])
    home = proxy.homes([entry["broker_client_id"]], "mqtt")
    assert home == {entry["broker_client_id"]: entry["upstream"]}
    proxy.stop()


@pytest.fixture(scope="module")
def tenants(start_proxy, brokers):
    """Two proxies that prefix each client ID with the tenant's username."""
    rewrite = {"rewrite": {"client_id": "${username}/${client_id}"}}
    proxies = [
        start_proxy({"mqtt": brokers}, f"tenants-{number}", listener=rewrite) for number in (1, 2)
    ]
    yield proxies
    for proxy in proxies:
        proxy.stop()


@pytest.mark.parametrize("version", [4, 5])
def test_tenants(tenants, brokers, unique, version):
    """Two tenants use the same client ID at the same time, and each finds its own session."""
    first, second = tenants
    accounts = {"user": f"acme-{unique}"}, {"user": f"globex-{unique}"}
    topics = [f"{account['user']}/inbox" for account in accounts]
    acme, globex = (Client(first.port, unique, version, False, **one) for one in accounts)
    for client, topic in zip((acme, globex), topics, strict=True):
        assert (client.connack, client.assigned_id) == (0, None)
        client.subscribe(topic, 1)
    assert not acme.ended.is_set()
    # Within a tenant the newer client takes the session over.
    with Client(second.port, unique, version, False, **accounts[0]) as newer:
        assert newer.session_present
        assert acme.ended.wait(PATIENCE) and not globex.ended.is_set()
    for client in (acme, globex):
        client.disconnect()

    publish_everywhere(brokers, [(topic, topic) for topic in topics])
    for account, topic, visits in zip(accounts, topics, (2, 1), strict=True):
        with Client(second.port, unique, version, False, **account) as client:
            assert client.session_present
            assert client.receive().payload == topic.encode()
        told = f"{account['user']}/{unique}"
        for entry in second.wait_for_entries(visits, event="connect", username=account["user"]):
            assert (entry["client_id"], entry["broker_client_id"]) == (unique, told)
        home = next(broker for broker in brokers if broker.name == entry["upstream"])
        assert f" as {told} (" in home.process.text()


@pytest.fixture(scope="module")
def requiring(start_proxy, brokers):
    require = {"require": [{"client_id": "${username}-*"}]}
    proxy = start_proxy({"mqtt": brokers}, "requiring", listener=require)
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("version", LEVELS)
def test_required(requiring, unique, version):
    """mosquitto_pub is accepted with an ID that starts with its username, and refused otherwise."""

    def publish(client_id):
        return subprocess.run(
            ["mosquitto_pub", "-h", LOOPBACK, "-p", str(requiring.port), "-V", LEVELS[version],
             "-i", client_id, "-u", unique, "-P", "x", "-t", "x", "-m", "x", "-q", "1"],
            capture_output=True, timeout=PATIENCE,
        ).returncode  # fmt: skip

    assert publish(f"{unique}-1") == 0
    # It ends with the code of the CONNACK.
    assert publish(f"x{unique}-1") == {4: 2, 5: NOT_VALID}[version]
    refused = requiring.entry(event="reject", client_id=f"x{unique}-1")
    assert (refused["end_by"], refused["end_cause"]) == ("proxy", "refused")
    requiring.entry(event="connect", client_id=f"{unique}-1")
