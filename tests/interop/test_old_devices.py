"""Devices with suites that rustls has not: HAProxy or stunnel ends their TLS, as the manual says."""

import re
import subprocess

import pytest
from harness.balancers import haproxy, stunnel
from harness.certificates import Authority
from harness.process import LOOPBACK, PATIENCE
from harness.proxy import ROOT, BehindBalancer, Proxy
from harness.scripted import connack

CONNECT = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06device"
MANUAL = ROOT / "deploy" / "man" / "mqtt-lb-ops.7.md"


@pytest.fixture
def front(tmp_path, brokers):
    """HAProxy with the line of the manual, before a proxy; and that proxy."""
    authority = Authority(tmp_path)
    authority.key = ["-newkey", "rsa:2048", "-nodes"]
    certificate = authority.issue("old.example")
    text = MANUAL.read_text()
    _, options, server = re.search(
        r"bind (\S+) ssl crt rsa\.pem (.+)\n +server lb \S+ (.+)", text
    ).groups()
    proxy = BehindBalancer(tmp_path, {"mqtt": brokers}, "proxy")
    bind = f"ssl crt {certificate} {options}"
    front = haproxy(tmp_path, "front", {"old": (bind, proxy.port, server, "")})
    yield front.ports["old"], proxy
    front.stop()
    proxy.stop()


@pytest.mark.parametrize(
    ("version", "suite", "cipher"),
    [
        ("-tls1_2", "AES128-SHA", "AES128-SHA"),
        ("-tls1_2", "AES256-SHA256", "AES256-SHA256"),
        ("-tls1_2", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA"),
        ("-tls1", "AES128-SHA", "AES128-SHA"),
        ("-tls1_3", "DEFAULT", "TLS_AES_256_GCM_SHA384"),
    ],
)
def test_suites_that_rustls_has_not(front, version, suite, cipher):
    port, proxy = front
    command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", version, "-quiet"]
    command += ["-cipher", f"{suite}:@SECLEVEL=0"]
    client = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        client.stdin.write(CONNECT)
        client.stdin.flush()
        assert client.stdout.read(4) == connack(4, 0)
    finally:
        # With -quiet it ignores the end of its input.
        client.kill()
        client.wait(PATIENCE)
        client.stdin.close()
        client.stdout.close()
    entry = proxy.entry(event="disconnect", client_id="device")
    assert entry["tls_cipher"] == cipher
    names = {"-tls1": "TLSv1", "-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}
    assert entry["tls_version"] == names[version]
    assert entry["client"].startswith(f"{LOOPBACK}:") and entry["client"] != entry["peer"]


@pytest.mark.parametrize("suite", ["AES128-SHA", "ECDHE-RSA-AES128-SHA"])
def test_the_proxy_itself_refuses_them(tmp_path, brokers, suite):
    authority = Authority(tmp_path)
    authority.key = ["-newkey", "rsa:2048", "-nodes"]
    authority.issue("old.example")
    pair = {"cert": f"{tmp_path}/old.example.crt", "key": f"{tmp_path}/old.example.key"}
    proxy = Proxy(tmp_path, {"mqtt": brokers}, "proxy", secured={"certificates": [pair]})
    try:
        port = proxy.ports["mqtt-tls"]
        command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-tls1_2"]
        command += ["-cipher", f"{suite}:@SECLEVEL=0"]
        said = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
        assert said.returncode == 1 and b"handshake failure" in said.stderr
        entry = proxy.entry(event="reject")
        assert "no cipher or key exchange" in entry["detail"]
    finally:
        proxy.stop()


PSK = "00112233445566778899aabbccddeeff"


@pytest.fixture
def psk_front(tmp_path, brokers):
    """stunnel with the lines of the manual, before a proxy; and that proxy."""
    lines = re.search(r"\[psk-devices\]\n.+\n.+\n((?:.+\n)+)```", MANUAL.read_text()).group(1)
    secrets = tmp_path / "psk.txt"
    secrets.touch(mode=0o600)
    secrets.write_text(f"device-1:{PSK}\n")
    lines = lines.replace("/etc/stunnel/psk.txt", str(secrets))
    proxy = BehindBalancer(tmp_path, {"mqtt": brokers}, "proxy")
    front = stunnel(tmp_path, "front", {"psk": (proxy.port, lines)})
    yield front.ports["psk"], proxy
    front.stop()
    proxy.stop()


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_pre_shared_keys(psk_front, version):
    port, proxy = psk_front

    def publish(key):
        command = ["mosquitto_pub", "-p", str(port), "--tls-version", version, "-i", "device"]
        command += ["--psk", key, "--psk-identity", "device-1", "-t", "t", "-m", "x", "-q", "1"]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)

    published = publish(PSK)
    assert published.returncode == 0, published.stderr
    entry = proxy.entry(event="disconnect", client_id="device")
    assert entry["client"].startswith(f"{LOOPBACK}:") and entry["client"] != entry["peer"]
    assert entry["client_disconnect_reason"] == "normal_disconnection"
    assert publish(PSK[::-1]).returncode != 0
