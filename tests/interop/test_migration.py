"""Migration from nginx and HAProxy, as in the manual: the configurations are valid, and no client of
nginx moves."""

import json
import re
import socket
import subprocess

import pytest
from harness.balancers import STREAM_MODULE
from harness.process import LOOPBACK, PATIENCE, Process, accepts, free_port, wait_for
from harness.proxy import ROOT, binary

OPS = (ROOT / "deploy/man/mqtt-lb-ops.7.md").read_text()
# Enough that chance would not place them alike.
CLIENTS = [f"127.9.{n // 250}.{n % 250 + 1}" for n in range(500)]

# A CONNECT of 3.1.1, clean, with the client ID "m" (MQTT 3.1.1 section 3.1).
CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01m"


def blocks(heading, language):
    chapter = OPS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", chapter, flags=re.DOTALL)


def whole_nginx(stream, folder):
    module = f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
    return f"""
{module}
user root;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
{stream}"""


def check(*command):
    command = [*map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configurations_for_nginx_are_good(tmp_path):
    open_source, plus = blocks("Moving from nginx", "nginx")
    assert "mqtt_preread" in plus and "mqtt_preread" not in open_source
    # Debian's nginx does not read CONNECTs: what it hashes then is the address.
    plus = plus.replace("mqtt_preread on;", "").replace("$mqtt_preread_clientid", "$remote_addr")
    pair = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]
    pair += ["-keyout", "server.key", "-out", "server.pem"]
    subprocess.run(["openssl", "req", "-x509", *pair], cwd=tmp_path, check=True, capture_output=True)
    for stream in (open_source, plus):
        file = tmp_path / "nginx.conf"
        file.write_text(whole_nginx(stream, tmp_path))
        check("/usr/sbin/nginx", "-t", "-p", tmp_path, "-c", file)


@pytest.mark.parametrize("which", [0, 1])
def test_the_configurations_for_haproxy_are_good(tmp_path, which):
    file = tmp_path / "haproxy.cfg"
    file.write_text(blocks("Moving from HAProxy", "haproxy")[which])
    check("/usr/sbin/haproxy", "-c", "-f", file)


@pytest.fixture
def places(tmp_path, brokers):
    """Puts the test's addresses in place of those of the manual."""
    first, second = (f"{LOOPBACK}:{broker.port}" for broker in brokers[:2])

    def put(text):
        assert text.count("10.0.0.7:1883") and text.count("10.0.0.8:1883")
        return text.replace("10.0.0.7:1883", first).replace("10.0.0.8:1883", second)

    return put


@pytest.fixture
def nginx(tmp_path, places):
    """Its port, and what it writes for each connection."""
    port, log = free_port(), tmp_path / "nginx.log"
    stream = places(blocks("Moving from nginx", "nginx")[0])
    logged = f"stream {{ log_format place '$remote_addr $upstream_addr'; access_log {log} place;"
    stream = stream.replace("stream {", logged).replace("listen 1883", f"listen {LOOPBACK}:{port}")
    file = tmp_path / "nginx.conf"
    file.write_text(whole_nginx(stream, tmp_path))
    process = Process("nginx", ["/usr/sbin/nginx", "-p", tmp_path, "-c", file], tmp_path)
    try:
        process.wait_until("its listener", lambda: accepts(port))
        yield port, log
        process.stop()
    finally:
        process.child.kill()


@pytest.fixture
def migrated(tmp_path, places):
    """The same for the proxy that takes its place."""
    log, file = tmp_path / "access.log", tmp_path / "lb.yaml"
    text = places(blocks("Moving from nginx", "yaml")[0])
    assert '"0.0.0.0:1883"' in text
    text = text.replace('"0.0.0.0:1883"', f'"{LOOPBACK}:0"')
    file.write_text(text + f"access_log: [{{ path: {log} }}]\ndrain: {{ timeout: 1s }}\n")
    process = Process("migrated", [binary(), "run", "-c", file], tmp_path)
    try:
        listening = re.compile(r"listening listener=mqtt address=\S+:(\d+)")
        found = process.wait_until("its listener", lambda: listening.search(process.text()))
        yield int(found[1]), log
        assert process.stop() == 0
    finally:
        process.child.kill()


def connect_from_all(port):
    for client in CLIENTS:
        with socket.create_connection((LOOPBACK, port), PATIENCE, (client, 0)) as sock:
            sock.sendall(CONNECT)
            assert sock.recv(4) == b"\x20\x02\x00\x00"
            sock.sendall(b"\xe0\x00")
            while sock.recv(64):
                pass


def test_no_client_of_nginx_moves(nginx, migrated, places):
    port, log = nginx
    connect_from_all(port)

    def placed_by_nginx():
        lines = [line.split() for line in log.read_text().splitlines()]
        found = {client: broker for client, broker in lines if client in set(CLIENTS)}
        return len(found) == len(CLIENTS) and found

    before = wait_for("nginx's log", placed_by_nginx)
    port, log = migrated
    connect_from_all(port)

    def placed_by_mqtt_lb():
        entries = map(json.loads, log.read_text().split("\n")[:-1])
        ends = [one for one in entries if one["event"] == "disconnect"]
        found = {one["client"].split(":")[0]: one["upstream"] for one in ends}
        return len(found) == len(CLIENTS) and found

    assert wait_for("the access log", placed_by_mqtt_lb) == before
    # Weights count, too: the second broker has two of three.
    second = places("10.0.0.8:1883 10.0.0.7:1883").split()[0]
    share = list(before.values()).count(second) / len(CLIENTS)
    assert 0.5 < share < 0.8
