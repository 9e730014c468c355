"""MQTT.js: messages of every QoS, there and back, over TCP and WebSocket, in Node and in a page."""

import json
import shutil
import subprocess

import pytest
from harness.process import LOOPBACK, PATIENCE, free_port
from harness.proxy import ROOT

SCRIPTS = ROOT / "tests/interop/mqttjs"


def run(script, *arguments):
    command = ["node", SCRIPTS / script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=2 * PATIENCE)
    return json.loads(done.stdout)


def ten_messages(name, qos):
    return [
        {"topic": f"{name}/{number}", "payload": f"message {number}", "qos": qos}
        for number in range(10)
    ]


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_round_trip(proxy, unique, transport, version, qos):
    url = proxy.ws_url() if transport == "ws" else proxy.url()
    assert run("in_node.js", url, version, qos, unique) == ten_messages(unique, qos)
    entry = proxy.entry(event="connect", client_id=unique)
    assert (entry["transport"], entry["protocol_version"]) == (transport, version)
    assert entry["upstream"] == proxy.homes([unique], "mqtt")[unique]
    end = proxy.entry(event="disconnect", client_id=unique)
    assert (end["end_phase"], end["end_cause"]) == ("relay", "closed")


@pytest.fixture(scope="module")
def page():
    """The port of the page that is allowed to connect."""
    return free_port()


@pytest.fixture(scope="module")
def for_pages(start_proxy, brokers, page):
    websocket = {"path": "/mqtt", "origins": [f"http://{LOOPBACK}:{page}"]}
    return start_proxy({"mqtt": brokers}, "for_pages", websocket=websocket)


@pytest.fixture
def chromium(tmp_path):
    """The browser, and a folder for its profile."""
    found = shutil.which("chromium")
    assert found, "no chromium: tests/run.sh installs it"
    return found, tmp_path / "profile"


@pytest.mark.parametrize("version, qos", [(3, 2), (4, 1), (5, 0), (5, 2)])
def test_in_a_page(for_pages, page, chromium, unique, version, qos):
    found = run("in_browser.js", *chromium, page, for_pages.ws_url(), version, qos, unique)
    assert found == ten_messages(unique, qos)
    entry = for_pages.entry(event="connect", client_id=unique)
    assert (entry["transport"], entry["protocol_version"]) == ("ws", version)
    assert entry["upstream"] == for_pages.homes([unique], "mqtt")[unique]
    end = for_pages.entry(event="disconnect", client_id=unique)
    assert (end["end_phase"], end["end_cause"]) == ("relay", "closed")


def test_a_page_of_a_stranger(for_pages, chromium, unique):
    arguments = (for_pages.ws_url(), 5, 0, unique)
    assert "error" in run("in_browser.js", *chromium, free_port(), *arguments)
    entry = for_pages.entry(event="reject")
    assert (entry["end_phase"], entry["end_cause"]) == ("handshake", "refused")
    assert entry["detail"] == "the request's Origin is not in `origins`"
