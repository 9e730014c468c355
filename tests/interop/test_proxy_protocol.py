"""The PROXY protocol as HAProxy and nginx speak it: before the proxy, and behind it."""

import re
import socket
import ssl

import pytest
from harness.balancers import haproxy, nginx
from harness.brokers import Mosquitto
from harness.certificates import Authority
from harness.clients import Client
from harness.headers import (
    ALPN,
    AUTHORITY,
    CRC32C,
    SSL,
    SSL_CIPHER,
    SSL_CN,
    SSL_VERSION,
    UNIQUE_ID,
    HeaderBroker,
    tlvs,
)
from harness.process import LOOPBACK, PATIENCE, wait_for
from harness.proxy import BehindBalancer, Proxy
from harness.scripted import connack

# 3.1.1, with client ID "device" and clean start.
CONNECT = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06device"
HOST, DEVICE = "mqtt.example", "device-7"
PROBES = 5


@pytest.fixture
def cleanup():
    """What is to be stopped at the end, the last first."""
    started = []
    yield started.append
    for one in reversed(started):
        one.stop()


@pytest.fixture
def behind(tmp_path, cleanup):
    """A proxy before these brokers, and what it takes to stop it."""

    def start(kind, brokers, **keys):
        proxy = kind(tmp_path, {"mqtt": brokers}, "proxy", **keys)
        cleanup(proxy)
        return proxy

    return start


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


class Peer:
    """A balancer's listener, as a broker of a pool."""

    def __init__(self, balancer, listener):
        self.name, self.port = f"{balancer.name}-{listener}", balancer.ports[listener]


def connect_through(port, authority=None, certificate=None):
    """Sends a CONNECT, over TLS where there is an authority; the client's address."""
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as sock:
        address = "{}:{}".format(*sock.getsockname())
        if authority:
            context = ssl.create_default_context(cafile=authority.file)
            context.set_alpn_protocols(["mqtt"])
            if certificate:
                context.load_cert_chain(certificate)
            sock = context.wrap_socket(sock, server_hostname=HOST)
        with sock:
            sock.sendall(CONNECT)
            assert sock.recv(4) == connack(4, 0)
    return address


@pytest.mark.parametrize("sender", ["haproxy v1", "haproxy v2", "nginx"])
def test_the_client_is_who_the_balancer_names(behind, brokers, unique, tmp_path, cleanup, sender):
    proxy = behind(BehindBalancer, brokers)
    if sender == "nginx":
        front = nginx(tmp_path, "front", {"mqtt": ("", proxy.port, "proxy_protocol on;")})
    else:
        option = {"haproxy v1": "send-proxy", "haproxy v2": "send-proxy-v2"}[sender]
        front = haproxy(tmp_path, "front", {"mqtt": ("", proxy.port, option, "")})
    cleanup(front)
    with Client(front.ports["mqtt"], unique) as client:
        client.subscribe(unique, 1)
        client.publish(unique, "round", qos=1)
        assert client.receive().payload == b"round"
        address = "{}:{}".format(*client.paho.socket().getsockname())
    entry = proxy.entry(event="connect", client_id=unique)
    assert entry["client"] == address
    # The balancer's own address on the way here.
    assert entry["peer"].startswith(f"{LOOPBACK}:") and entry["peer"] != address


@pytest.mark.parametrize("certificate", [True, False], ids=["certificate", "no certificate"])
def test_what_haproxy_knows_of_tls_reaches_the_broker(
    behind, authority, tmp_path, cleanup, certificate
):
    broker = HeaderBroker("broker", connack(4, 0))
    cleanup(broker)
    proxy = behind(BehindBalancer, [broker], send_proxy_protocol="v2")
    tls = f"ssl crt {authority.issue(HOST)} ca-file {authority.file} verify optional alpn mqtt"
    options = "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id"
    server = f"send-proxy-v2 proxy-v2-options {options}"
    front = haproxy(
        tmp_path,
        "front",
        {"mqtts": (tls, proxy.port, server, "unique-id-format %{+X}o%ci%cp%rt")},
    )
    cleanup(front)
    shown = authority.issue(DEVICE) if certificate else None
    address = connect_through(front.ports["mqtts"], authority, shown)

    entry = proxy.entry(event="disconnect", client_id="device")
    assert entry["client"] == address
    ((command, family, block),) = broker.headers
    assert (command, family) == (0x21, 0x11)
    source = ".".join(map(str, block[:4])), int.from_bytes(block[8:10], "big")
    assert "{}:{}".format(*source) == address
    # Where the client connected to, which is HAProxy.
    assert int.from_bytes(block[10:12], "big") == front.ports["mqtts"]
    said = tlvs(block[12:])
    assert set(said) == {ALPN, AUTHORITY, UNIQUE_ID, SSL, CRC32C}
    assert (said[ALPN], said[AUTHORITY]) == (b"mqtt", HOST.encode())
    assert said[UNIQUE_ID].decode() == entry["session"]
    of_tls = tlvs(said[SSL][5:])
    assert of_tls[SSL_VERSION] == b"TLSv1.3"
    assert of_tls[SSL_CIPHER].startswith(b"TLS_")
    # The client's bits, and zero for a certificate that was verified.
    if certificate:
        assert (said[SSL][:5], of_tls[SSL_CN]) == (b"\x07\0\0\0\0", DEVICE.encode())
    else:
        assert (said[SSL][:5], SSL_CN in of_tls) == (b"\x01\0\0\0\x01", False)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind_the_proxy(behind, unique, tmp_path, cleanup, version):
    broker = Mosquitto(tmp_path, "broker")
    cleanup(broker)
    log = 'log-format "client=%ci:%cp to=%fi:%fp id=%[fc_pp_unique_id]"'
    back = haproxy(tmp_path, "back", {"mqtt": ("accept-proxy", broker.port, "", log)})
    cleanup(back)
    proxy = behind(Proxy, [Peer(back, "mqtt")], send_proxy_protocol=version)
    address = connect_through(proxy.port)
    entry = proxy.entry(event="disconnect", client_id="device")
    session = entry["session"] if version == "v2" else "-"
    logged = f"client={address} to={LOOPBACK}:{proxy.port} id={session}\n"
    back.process.wait_until(logged, lambda: logged in back.process.text())


def test_the_name_that_a_client_asked_for_reaches_haproxy(behind, authority, tmp_path, cleanup):
    broker = Mosquitto(tmp_path, "broker")
    cleanup(broker)
    log = 'log-format "client=%ci:%cp host=%[fc_pp_authority] id=%[fc_pp_unique_id]"'
    back = haproxy(tmp_path, "back", {"mqtt": ("accept-proxy", broker.port, "", log)})
    cleanup(back)
    proxy = behind(BehindBalancer, [Peer(back, "mqtt")], send_proxy_protocol="v2")
    tls = f"ssl crt {authority.issue(HOST)}"
    server = "send-proxy-v2 proxy-v2-options authority"
    front = haproxy(tmp_path, "front", {"mqtts": (tls, proxy.port, server, "")})
    cleanup(front)
    address = connect_through(front.ports["mqtts"], authority)
    session = proxy.entry(event="disconnect", client_id="device")["session"]
    logged = f"client={address} host={HOST} id={session}\n"
    back.process.wait_until(logged, lambda: logged in back.process.text())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_behind_the_proxy(behind, tmp_path, cleanup, version):
    broker = Mosquitto(tmp_path, "broker")
    cleanup(broker)
    back = nginx(tmp_path, "back", {"mqtt": ("proxy_protocol", broker.port, "")})
    cleanup(back)
    proxy = behind(Proxy, [Peer(back, "mqtt")], send_proxy_protocol=version)
    address = connect_through(proxy.port)
    logged = f"client={address}\n"
    back.process.wait_until(logged, lambda: logged in back.process.text())


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind", ["tcp", "mqtt"])
@pytest.mark.parametrize("receiver", ["haproxy", "nginx"])
def test_health_checks_are_understood(behind, tmp_path, cleanup, version, kind, receiver):
    broker = Mosquitto(tmp_path, "broker", extra="log_type all")
    cleanup(broker)
    if receiver == "haproxy":
        back = haproxy(tmp_path, "back", {"mqtt": ("accept-proxy", broker.port, "", "")})
    else:
        back = nginx(tmp_path, "back", {"mqtt": ("proxy_protocol", broker.port, "")})
    cleanup(back)
    active = {"type": kind, "interval": "100ms", "timeout": "30s"}
    proxy = behind(
        Proxy, [Peer(back, "mqtt")], send_proxy_protocol=version, health={"active": active}
    )

    def probes(outcome):
        return proxy.metrics("health_checks_total", "outcome")[(outcome,)]

    wait_for("good checks", lambda: probes("ok") >= PROBES)
    assert set(proxy.metrics("health_checks_total", "outcome")) == {("ok",)}
    complaints = re.findall(r".*(?:broken header|PROXY|error).*", back.process.text())
    # nginx' first connection was this test's, to see whether it listens.
    complaints = [line for line in complaints if "*1 broken header" not in line]
    assert not complaints, complaints


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_haproxys_health_checks_are_no_faults(behind, brokers, tmp_path, cleanup, option):
    proxy = behind(BehindBalancer, brokers)
    server = f"{option} check inter 100ms"
    front = haproxy(tmp_path, "front", {"mqtt": ("", proxy.port, server, "")})
    cleanup(front)
    wait_for("checks", lambda: sum(proxy.metrics("probes_total", "listener").values()) >= PROBES)
    # HAProxy leaves with a reset, which may overtake its header.
    ends = set(proxy.metrics("session_ends_total", "by", "cause"))
    assert ends <= {("client", "closed"), ("client", "reset")}
    assert not proxy.entries(event="reject")
    address = connect_through(front.ports["mqtt"])
    assert proxy.entry(event="disconnect", client_id="device")["client"] == address
