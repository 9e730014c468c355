"""Enhanced authentication: MQTT.js answers two challenges of Mosquitto's.

Mosquitto leaves the method to a plugin, which is compiled here.
"""

import json
import os
import subprocess

import pytest
from harness.brokers import Mosquitto
from harness.certificates import Authority
from harness.process import PATIENCE
from harness.proxy import ROOT

INTEROP = ROOT / "tests/interop"
SECRET = "sixteen-bytes-ok"
FIRST, SECOND = "first-challenge!", "second-challenge"
# CONNACK reasons: MQTT 5.0 section 3.2.2.2.
NOT_AUTHORIZED, BAD_AUTHENTICATION_METHOD = 0x87, 0x8C
TRANSPORTS = ["tcp", "tls", "ws", "wss"]


@pytest.fixture(scope="module")
def challenging(folder):
    """Two brokers with the plugin."""
    plugin = folder / "challenge.so"
    source = INTEROP / "plugin/challenge.c"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", plugin, source], check=True
    )
    extra = f"plugin {plugin}\nplugin_opt_secret {SECRET}"
    started = []
    try:
        for number in (1, 2):
            started.append(Mosquitto(folder, f"challenging-{number}", extra=extra))
        yield started
    finally:
        for broker in started:
            broker.stop()


@pytest.fixture(scope="module")
def authority(folder):
    found = folder / "authentication-authority"
    found.mkdir()
    return Authority(found)


@pytest.fixture(scope="module")
def front(start_proxy, challenging, authority):
    server = str(authority.issue("localhost"))
    secured = {"certificates": [{"cert": server, "key": server}]}
    proxy = start_proxy({"mqtt": challenging}, "authentication", secured=secured)
    yield proxy
    proxy.stop()


@pytest.fixture
def authenticate(front, authority, unique):
    def authenticate(transport, method="CHALLENGE", secret=SECRET):
        url = {"tcp": front.url, "ws": front.ws_url, "tls": front.tls_url, "wss": front.wss_url}
        done = subprocess.run(
            ["node", INTEROP / "mqttjs/auth.js", url[transport](), unique, method, secret],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
            env=os.environ | {"NODE_EXTRA_CA_CERTS": str(authority.file)},
        )
        return json.loads(done.stdout)

    return authenticate


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_success(front, authenticate, unique, transport):
    """At CONNECT, while the proxy reads the packets, and again during the session."""
    assert authenticate(transport) == {
        "first": [FIRST, SECOND],
        "welcome": "welcome",
        "again": [FIRST, SECOND, "welcome"],
        "message": "hello",
    }
    entry = front.entry(event="connect", client_id=unique)
    assert (entry["transport"], entry["connack"], entry["tries"]) == (transport, 0, 1)
    assert entry["upstream"] == front.homes([unique], "mqtt")[unique]
    end = front.entry(event="disconnect", client_id=unique)
    assert (end["end_phase"], end["end_cause"]) == ("relay", "closed")
    log = front.log.read_text() + front.process.text()
    assert SECRET not in log and FIRST not in log


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_wrong_answer(front, authenticate, unique, transport):
    """The client gets the broker's refusal, and no other broker is tried."""
    found = authenticate(transport, secret="sixteen-bytes-no")
    assert found == {"refused": NOT_AUTHORIZED, "first": [FIRST]}
    entry = front.entry(event="reject", client_id=unique)
    assert (entry["connack"], entry["end_by"]) == (NOT_AUTHORIZED, "upstream")


def test_an_unknown_method(front, authenticate, unique):
    found = authenticate("tcp", method="SCRAM-SHA-256")
    assert found == {"refused": BAD_AUTHENTICATION_METHOD, "first": []}
    assert front.entry(event="reject", client_id=unique)["connack"] == BAD_AUTHENTICATION_METHOD


def test_many_at_once(front, authenticate, unique):
    """Exchanges that succeed and that fail, at the same time through one proxy, do not mix."""
    script = INTEROP / "mqttjs/auth.js"
    running = {}
    for number in range(6):
        secret = SECRET if number % 2 else "sixteen-bytes-no"
        command = ["node", script, front.url(), f"{unique}-{number}", "CHALLENGE", secret]
        running[number] = subprocess.Popen(command, stdout=subprocess.PIPE)
    for number, process in running.items():
        found = json.loads(process.communicate(timeout=PATIENCE)[0])
        assert found["first"] == ([FIRST, SECOND] if number % 2 else [FIRST])
        assert ("refused" in found) == (number % 2 == 0)
