"""TLS, from real clients and to real brokers."""

import json
import os
import subprocess

import pytest
from harness.brokers import Mosquitto
from harness.certificates import Authority
from harness.clients import Client
from harness.process import LOOPBACK, PATIENCE, free_port, wait_for
from harness.proxy import ROOT
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion

LEVELS = {"mqttv31": 3, "mqttv311": 4, "mqttv5": 5}
SESSIONS = 40


@pytest.fixture(scope="module")
def authority(folder):
    found = folder / "authority"
    found.mkdir()
    return Authority(found)


@pytest.fixture(scope="module")
def secured(start_proxy, brokers, authority):
    server = str(authority.issue("localhost"))
    tls = {
        "certificates": [{"cert": server, "key": server}],
        "client_auth": "optional",
        "client_ca": str(authority.file),
    }
    return start_proxy({"mqtt": brokers}, "secured", secured=tls)


@pytest.fixture(scope="module")
def device(authority):
    """The file of a client's certificate and key."""
    return authority.issue("device-7")


def mosquitto_pub(port, authority, *arguments):
    command = ["mosquitto_pub", "-h", "localhost", "-p", str(port), "--cafile", authority.file]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr


@pytest.mark.parametrize("version", LEVELS)
def test_mosquitto_clients(secured, authority, device, unique, version):
    port = secured.port_of("tls")
    identity = ["--cert", device, "--key", device]
    sent = mosquitto_pub(
        port, authority, *identity, "-V", version, "-i", unique, "-t", unique,
        "-q", "2", "-m", "x" * 100_000,
    )  # fmt: skip
    assert sent == (0, "")
    end = secured.entry(event="disconnect", client_id=unique)
    assert end["transport"] == "tls"
    assert (end["tls_version"], end["tls_cipher"]) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert (end["sni"], end["tls_cn"]) == ("localhost", "device-7")
    assert (end["protocol_version"], end["end_cause"]) == (LEVELS[version], "closed")
    assert end["bytes_in"] > 100_000


def test_a_foreign_server_is_not_trusted(secured, folder, unique):
    other = folder / "other-authority"
    other.mkdir()
    code, said = mosquitto_pub(secured.port_of("tls"), Authority(other), "-t", unique, "-m", "x")
    assert code != 0 and "TLS" in said
    secured.entry(event="reject", end_by="client", end_phase="handshake", end_cause="refused")


@pytest.mark.parametrize("transport", ["tls", "wss"])
@pytest.mark.parametrize("version, qos", [(3, 1), (4, 2), (5, 1)])
def test_mqttjs(secured, authority, unique, transport, version, qos):
    url = secured.tls_url() if transport == "tls" else secured.wss_url()
    script = ROOT / "tests/interop/mqttjs/in_node.js"
    done = subprocess.run(
        ["node", script, url, str(version), str(qos), unique],
        check=True,
        capture_output=True,
        timeout=2 * PATIENCE,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(authority.file)},
    )
    assert [one["payload"] for one in json.loads(done.stdout)] == [f"message {n}" for n in range(10)]
    entry = secured.entry(event="connect", client_id=unique)
    assert (entry["transport"], entry["tls_version"]) == (transport, "TLSv1.3")


def test_bridge(secured, brokers, authority, folder, unique):
    bridge = Mosquitto(
        folder,
        "bridge-tls",
        extra=f"""
connection {unique}
address localhost:{secured.port_of("tls")}
bridge_cafile {authority.file}
remote_clientid {unique}
topic up/{unique} out 1
""",
    )
    try:
        entry = secured.entry(event="connect", client_id=unique)
        assert (entry["bridge"], entry["transport"], entry["connack"]) == (True, "tls", 0)
        home = next(broker for broker in brokers if broker.name == entry["upstream"])
        with Client(home.port, f"{unique}-far") as far, Client(bridge.port, f"{unique}-near") as near:
            far.subscribe(f"up/{unique}", 1)
            near.publish(f"up/{unique}", "upwards", qos=1)
            assert far.receive().payload == b"upwards"
    finally:
        bridge.stop()


class Visit:
    """One connection of a client whose session stays, over any transport."""

    def __init__(self, secured, authority, transport, client_id):
        websocket = transport in ("ws", "wss")
        self.messages, self.connack = [], None
        self.paho = Paho(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=False,
            reconnect_on_failure=False,
            transport="websockets" if websocket else "tcp",
        )
        if websocket:
            self.paho.ws_set_options(path="/mqtt")
        if transport in ("tls", "wss"):
            self.paho.tls_set(str(authority.file))
        self.granted = False
        self.paho.on_connect = self.on_connect
        self.paho.on_message = lambda _c, _u, message: self.messages.append(message.payload)
        self.paho.on_subscribe = self.on_subscribe
        port = secured.port if transport == "tcp" else secured.port_of(transport)
        self.paho.connect("localhost", port)
        self.paho.loop_start()
        wait_for(f"a CONNACK over {transport}", lambda: self.connack is not None)

    def on_connect(self, _client, _user, flags, reason, _properties):
        assert reason == 0, reason
        self.connack = flags.session_present

    def on_subscribe(self, *_):
        self.granted = True

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()


def test_a_session_is_found_by_every_way_in(secured, authority, unique):
    """What was subscribed to over TCP is heard over TLS, WebSocket and both."""
    names = [f"{unique}-{number}" for number in range(SESSIONS)]
    for name in names:
        visit = Visit(secured, authority, "tcp", name)
        visit.paho.subscribe(f"to/{name}", 1)
        wait_for("a SUBACK", lambda: visit.granted)
        visit.leave()
    homes = {name: secured.entry(event="disconnect", client_id=name)["upstream"] for name in names}
    assert len(set(homes.values())) == 3
    ports = {broker["name"]: int(broker["address"].rpartition(":")[2]) for broker in upstreams(secured)}
    for transport in ("tls", "ws", "wss"):
        for name in names:
            with Client(ports[homes[name]], f"{name}-{transport}") as sender:
                sender.publish(f"to/{name}", transport, qos=1)
            visit = Visit(secured, authority, transport, name)
            assert visit.connack is True, f"{name} has no session over {transport}"
            wait_for("the message", lambda: visit.messages == [transport.encode()])
            visit.leave()


def upstreams(proxy):
    return json.loads(proxy.file.read_text())["pools"][0]["upstreams"]


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_renegotiation_is_not_had(secured, unique, transport):
    """Asked for again and again; each connection ends, in one record, and others do not notice."""
    before = len(secured.entries(event="reject"))
    with Client(secured.port, unique) as bystander:
        for _ in range(10):
            subprocess.run(
                ["openssl", "s_client", "-tls1_2", "-connect", f"{LOOPBACK}:{secured.port_of(transport)}"],
                input="R\n" * 5,
                text=True,
                capture_output=True,
                timeout=PATIENCE,
            )
        bystander.subscribe(unique, 1)
        bystander.publish(unique, "still here", qos=1)
        assert bystander.receive().payload == b"still here"
    rejects = wait_for("ten ends", lambda: len(found := secured.entries(event="reject")) >= before + 10 and found)
    assert len(rejects) == before + 10
    assert all(one["end_by"] == "client" for one in rejects[before:])


def test_old_versions_are_refused(secured):
    """TLS 1.1, from a client that was told to lower its guard for it."""
    before = len(secured.entries(event="reject"))
    address = f"{LOOPBACK}:{secured.port_of('tls')}"
    command = ["openssl", "s_client", "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0", "-connect", address]
    done = subprocess.run(command, input="", text=True, capture_output=True, timeout=PATIENCE)
    assert "alert" in done.stderr
    end = wait_for("its end", lambda: secured.entries(event="reject")[before:])[0]
    assert (end["end_phase"], end["end_cause"]) == ("handshake", "malformed")
    assert "from min_version to max_version" in end["detail"]


@pytest.fixture(scope="module")
def by_tls(start_proxy, authority, folder):
    """A proxy before a broker that asks for its certificate, and checks that speak TLS as well."""
    server, own = str(authority.issue("broker.test")), str(authority.issue("localhost"))
    port = free_port()
    broker = Mosquitto(
        folder,
        "secured-broker",
        extra=f"""
listener {port} {LOOPBACK}
cafile {authority.file}
certfile {server}
keyfile {server}
require_certificate true
""",
    )
    broker.port = port
    tls = {"ca": str(authority.file), "server_name": "broker.test", "cert": own, "key": own}
    health = {"active": {"type": "mqtt", "interval": "200ms", "rise": 1}}
    secured = {"certificates": [{"cert": own, "key": own}]}
    pools = {"mqtt": [broker]}
    try:
        proxy = start_proxy(pools, "to-secured", secured=secured, tls=tls, health=health)
        yield proxy
        proxy.stop()
    finally:
        broker.stop()


@pytest.mark.parametrize("version", LEVELS.values())
def test_mosquitto_by_tls(by_tls, unique, version):
    with Client(by_tls.port, unique, version=version) as client:
        client.subscribe(unique, 2)
        client.publish(unique, "x" * 50_000, qos=2)
        assert client.receive().payload == b"x" * 50_000
    wait_for("good checks", lambda: checks(by_tls)["ok",] > 2)
    assert set(checks(by_tls)) == {("ok",)}


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_every_way_in_and_tls_out(by_tls, authority, unique, transport):
    """More than any buffer holds, there and back."""
    visit = Visit(by_tls, authority, transport, unique)
    visit.paho.subscribe(unique, 1)
    wait_for("a SUBACK", lambda: visit.granted)
    payload = os.urandom(3_000_000)
    published = visit.paho.publish(unique, payload, qos=1)
    wait_for("the message", lambda: visit.messages)
    # With its PUBACK unread the client would end in a reset.
    published.wait_for_publish(30)
    assert visit.messages == [payload]
    visit.leave()
    end = by_tls.entry(event="disconnect", client_id=unique)
    assert end["transport"] == transport
    # Mosquitto closes at the DISCONNECT, which the proxy's close_notify may come behind.
    ends = {(end["end_by"], end["end_cause"])}
    assert ends <= {("client", "closed"), ("upstream", "closed"), ("upstream", "reset")}


def checks(proxy):
    return proxy.metrics("health_checks_total", "outcome")
