"""Common clients, over every transport that each has: messages of every QoS go and come back, and a
session is found again."""

import subprocess

import pytest
from harness.certificates import Authority
from harness.clients import Client
from harness.process import PATIENCE
from harness.sessions import CLIENTS, LEVELS, Visit

CELLS = [
    (name, transport, version)
    for name, (_, transports) in CLIENTS.items()
    for transport in transports
    for version in (4, 5)
]


@pytest.fixture(scope="module")
def authority(folder):
    found = folder / "clients-authority"
    found.mkdir()
    return Authority(found)


@pytest.fixture(scope="module")
def every_transport(start_proxy, brokers, authority):
    server = str(authority.issue("localhost"))
    secured = {"certificates": [{"cert": server, "key": server}]}
    return start_proxy({"mqtt": brokers}, "every-transport", secured=secured)


@pytest.mark.parametrize(
    "name, transport, version", CELLS, ids=["-".join(map(str, cell)) for cell in CELLS]
)
def test_session(every_transport, brokers, authority, unique, folder, name, transport, version):
    proxy, (client, _) = every_transport, CLIENTS[name]
    home = proxy.homes([unique], "mqtt")[unique]

    begin = Visit(True, proxy, transport, version, unique, authority, folder)
    # Across topics the broker chooses the order.
    assert sorted(client(begin)) == [(f"{unique}/{qos}", qos, "hello") for qos in LEVELS]
    proxy.entry(event="disconnect", client_id=unique)

    port = next(broker.port for broker in brokers if broker.name == home)
    with Client(port, f"{unique}-publisher") as publisher:
        publisher.publish(f"{unique}/1", "queued")
    resume = Visit(False, proxy, transport, version, unique, authority, folder)
    assert client(resume) == [(f"{unique}/1", 1, "queued")]

    logged = proxy.wait_for_entries(2, event="connect", client_id=unique)
    assert [one["session_present"] for one in logged] == [False, True]
    for one in logged:
        assert (one["upstream"], one["route"]) == (home, "hash")
        assert (one["transport"], one["protocol_version"]) == (transport, version)
    ends = proxy.wait_for_entries(2, event="disconnect", client_id=unique)
    assert {one["end_phase"] for one in ends} == {"relay"}
    # A client that closes before it has read TLS's close_notify resets the connection.
    assert {one["end_cause"] for one in ends} <= {"closed", "reset"}


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_request_and_response(every_transport, brokers, authority, unique, transport, version):
    """mosquitto_rr publishes a request and waits for the response."""
    proxy = every_transport
    home = proxy.homes([unique], "mqtt")[unique]
    port = proxy.port if transport == "tcp" else proxy.port_of("tls")
    command = [
        "mosquitto_rr", "-h", "localhost", "-p", str(port), "-V", version, "-i", unique, "-q", "1",
        "-t", f"{unique}/ask", "-e", f"{unique}/answer", "-m", "how much", "-W", "30",
    ]  # fmt: skip
    if transport == "tls":
        command += ["--cafile", str(authority.file)]
    direct = next(broker.port for broker in brokers if broker.name == home)
    with Client(direct, f"{unique}-answers", 5) as other:
        other.subscribe(f"{unique}/ask", 1)
        asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        request = other.receive()
        # A 5.0 request names the topic of the response; with 3.1.1 both sides have to know it.
        where = getattr(request.properties, "ResponseTopic", None)
        assert where == (f"{unique}/answer" if version == "mqttv5" else None)
        other.publish(f"{unique}/answer", "this much")
        assert asking.communicate(timeout=PATIENCE)[0] == "this much\n"
    assert (request.payload, asking.returncode) == (b"how much", 0)
    assert proxy.entry(event="connect", client_id=unique)["transport"] == transport
