"""What the proxy is for: a client that comes back finds its session, whichever way it comes."""

import json
import subprocess
from collections import Counter

import pytest
from harness.clients import Client, publish_everywhere
from harness.process import LOOPBACK, PATIENCE, wait_for
from harness.proxy import ROOT

PAHO_CLIENTS = 100
MQTTJS_CLIENTS = 20


@pytest.fixture(scope="module")
def restarting(start_proxy, brokers):
    """A proxy that a test may stop and start."""
    return start_proxy({"mqtt": brokers}, "restarting")


@pytest.fixture(scope="module")
def second(start_proxy, brokers):
    """Another proxy of the same configuration, that knows nothing of the first."""
    return start_proxy({"mqtt": brokers}, "second")


class PahoFleet:
    """Clients that connect one after the other."""

    def __init__(self, version, unique):
        self.version = version
        self.ids = [f"{unique}-{number}" for number in range(PAHO_CLIENTS)]

    def subscribe(self, port):
        for name in self.ids:
            with Client(port, name, self.version, clean=False) as client:
                assert not client.session_present
                client.subscribe(f"queued/{name}", 1)

    def collect(self, port):
        """Per client: whether its session was there, and the message that waited in it."""
        found = {}
        for name in self.ids:
            with Client(port, name, self.version, clean=False) as client:
                assert client.session_present, f"{name} lost its session"
                found[name] = [client.session_present, client.receive().payload.decode()]
                assert client.messages.empty()
        return found


class MqttJsFleet:
    """Clients that connect all at once."""

    def __init__(self, version, unique):
        self.version = version
        self.ids = [f"{unique}-{number}" for number in range(MQTTJS_CLIENTS)]

    def subscribe(self, port):
        assert self.run("subscribe", port) == {name: [False, None] for name in self.ids}

    def collect(self, port):
        return self.run("collect", port)

    def run(self, what, port):
        script = ROOT / "tests/interop/mqttjs/fleet.js"
        command = ["node", script, what, f"mqtt://{LOOPBACK}:{port}", str(self.version), *self.ids]
        done = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        return json.loads(done.stdout)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("fleet", [PahoFleet, MqttJsFleet])
def test_found_again(restarting, second, brokers, unique, fleet, version):
    clients = fleet(version, unique)
    clients.subscribe(restarting.port)
    homes = restarting.homes(clients.ids, "mqtt")
    assert set(homes.values()) == {broker.name for broker in brokers}

    def through(proxy, where):
        messages = {name: f"{where} {name}" for name in clients.ids}
        queued = [(f"queued/{name}", text) for name, text in messages.items()]
        publish_everywhere(brokers, queued)
        assert clients.collect(proxy.port) == {
            name: [True, text] for name, text in messages.items()
        }

    through(restarting, "the same proxy")
    restarting.stop()
    restarting.start()
    through(restarting, "a restarted proxy")
    through(second, "another proxy")

    for proxy, times in ((restarting, 3), (second, 1)):
        def of_these(proxy=proxy):
            return [one for one in proxy.entries(event="connect") if one["client_id"] in homes]

        wait_for("every connect", lambda wanted=times * len(homes): len(of_these()) >= wanted)
        logged = of_these()
        assert Counter(one["client_id"] for one in logged) == dict.fromkeys(clients.ids, times)
        assert all(one["upstream"] == homes[one["client_id"]] for one in logged)
        assert all(one["protocol_version"] == version for one in logged)
        assert all(one["clean_start"] is False and one["route"] == "hash" for one in logged)
        first = 0 if proxy is second else len(clients.ids)
        assert sum(not one["session_present"] for one in logged) == first
