"""TLS that is passed through to real brokers, by the server name in the ClientHello."""

import os
import socket
import ssl
import subprocess

import pytest
from harness.brokers import Mosquitto
from harness.certificates import Authority
from harness.process import LOOPBACK, PATIENCE, free_port, wait_for
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion

HOSTS = ("eu.test", "us.test")
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def authority(folder):
    found = folder / "authority-of-brokers"
    found.mkdir()
    return Authority(found)


@pytest.fixture(scope="module")
def tenants(folder, authority):
    """A broker for each host, with a certificate for it; clients have to show one of theirs."""
    started = []
    for host in HOSTS:
        certificate, port = authority.issue(host), free_port()
        broker = Mosquitto(
            folder,
            host,
            extra=f"""
listener {port} {LOOPBACK}
cafile {authority.file}
certfile {certificate}
keyfile {certificate}
require_certificate true
use_identity_as_username true
""",
        )
        broker.port = port
        started.append(broker)
    yield started
    for broker in started:
        broker.stop()


@pytest.fixture(scope="module")
def passing(start_proxy, tenants):
    rules = [{"name": host, "when": {"sni": host}, "pool": host} for host in HOSTS]
    # The harness gives some listeners WebSocket, which TLS hides here.
    listener = {"tls": "passthrough", "websocket": None, "rules": rules}
    pools = {broker.name: [broker] for broker in tenants}
    proxy = start_proxy(pools, "passing", listener=listener, balance={"key": "sni"})
    yield proxy
    proxy.stop()


@pytest.fixture(autouse=True)
def hosts(monkeypatch):
    """Both hosts are this one."""
    resolve = socket.getaddrinfo

    def here(host, *arguments, **keys):
        return resolve(LOOPBACK if host in HOSTS else host, *arguments, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", here)


class Visit:
    """One connection, which hears what it sends."""

    def __init__(self, proxy, authority, host, client_id, version="1.3"):
        self.paho = Paho(CallbackAPIVersion.VERSION2, client_id, clean_session=False)
        own = str(authority.issue("device-7"))
        self.paho.tls_set(str(authority.file), own, own)
        self.paho._ssl_context.maximum_version = VERSIONS[version]
        self.granted, self.messages, self.session = False, [], None
        self.paho.on_subscribe = lambda *_: setattr(self, "granted", True)
        self.paho.on_message = lambda _client, _data, message: self.messages.append(message.payload)
        self.paho.on_connect = lambda _client, _data, flags, *_: setattr(
            self, "session", flags.session_present
        )
        self.paho.connect(host, proxy.port)
        self.paho.loop_start()
        wait_for("a CONNACK", lambda: self.session is not None)

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", HOSTS)
def test_a_session_at_the_broker_of_its_host(passing, authority, unique, host, version):
    """More than any buffer holds, there and back; the session is found again."""
    before = len(passing.entries(event="disconnect", sni=host))
    visit = Visit(passing, authority, host, unique, version)
    assert visit.session is False
    visit.paho.subscribe(unique, 1)
    wait_for("a SUBACK", lambda: visit.granted)
    payload = os.urandom(2_000_000)
    visit.paho.publish(unique, payload, qos=1).wait_for_publish(PATIENCE)
    wait_for("the message", lambda: visit.messages == [payload])
    visit.leave()
    again = Visit(passing, authority, host, unique, version)
    assert again.session is True
    again.leave()
    end = passing.wait_for_entries(before + 2, event="disconnect", sni=host)[-1]
    assert (end["transport"], end["pool"], end["rule"]) == ("tls_passthrough", host, host)
    assert "client_id" not in end and end["end_phase"] == "relay"


@pytest.mark.parametrize("host", HOSTS)
def test_the_brokers_own_certificates(passing, authority, host):
    """A client that shows no certificate is refused by the broker, in TLS."""
    address = f"{LOOPBACK}:{passing.port}"
    command = ["openssl", "s_client", "-connect", address, "-servername", host, "-tls1_2"]
    command += ["-CAfile", authority.file, "-verify_hostname", host]
    done = subprocess.run(command, input="", text=True, capture_output=True, timeout=PATIENCE)
    assert f"subject=CN = {host}" in done.stdout or f"subject=CN={host}" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "alert" in done.stderr


def test_mqtt_without_tls_is_refused(passing, unique):
    before = len(passing.entries(event="reject"))
    command = ["mosquitto_pub", "-h", LOOPBACK, "-p", str(passing.port), "-t", unique, "-m", "x"]
    assert subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode != 0
    end = wait_for("its end", lambda: passing.entries(event="reject")[before:])[0]
    assert (end["end_phase"], end["end_cause"]) == ("handshake", "malformed")
    assert "MQTT without TLS" in end["detail"]
