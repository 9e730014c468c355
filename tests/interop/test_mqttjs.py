"""MQTT.js: messages of every QoS, there and back."""

import json
import subprocess

import pytest
from harness.process import PATIENCE
from harness.proxy import ROOT


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_round_trip(proxy, unique, version, qos):
    script = ROOT / "tests/interop/mqttjs/echo.js"
    command = ["node", script, str(proxy.port), str(version), str(qos), unique]
    done = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    assert json.loads(done.stdout) == [
        {"topic": f"{unique}/{number}", "payload": f"message {number}", "qos": qos}
        for number in range(10)
    ]
    entry = proxy.entry(event="connect", client_id=unique)
    assert entry["protocol_version"] == version
    assert entry["upstream"] == proxy.homes([unique], "mqtt")[unique]
    end = proxy.entry(event="disconnect", client_id=unique)
    assert (end["end_phase"], end["end_cause"]) == ("relay", "closed")
