"""A Mosquitto bridge, whose CONNECT has a bit that the standards do not know."""

import pytest
from harness.brokers import Mosquitto
from harness.clients import Client

LEVELS = {"mqttv31": 3, "mqttv311": 4}


@pytest.mark.parametrize("version", LEVELS)
def test_bridge(proxy, brokers, unique, version, folder):
    bridge = Mosquitto(
        folder,
        f"bridge-{version}",
        extra=f"""
connection {unique}
address 127.0.0.1:{proxy.port}
bridge_protocol_version {version}
remote_clientid {unique}
cleansession true
notifications true
topic up/{unique} out 2
topic down/{unique} in 2
""",
    )
    try:
        entry = proxy.entry(event="connect", client_id=unique)
        assert entry["bridge"] is True
        assert entry["protocol_version"] == LEVELS[version]
        assert entry["connack"] == 0
        # The bridge says so in a retained message when it has connected: its will's topic.
        assert entry["will"] is True
        home = next(broker for broker in brokers if broker.name == entry["upstream"])
        state = f"$SYS/broker/connection/{unique}/state"
        with (
            Client(home.port, f"{unique}-far") as far,
            Client(bridge.port, f"{unique}-near") as near,
        ):
            near.subscribe(state, 1)
            while near.receive().payload != b"1":
                pass
            far.subscribe(f"up/{unique}", 2)
            near.publish(f"up/{unique}", "upwards", qos=2)
            assert far.receive().payload == b"upwards"

            near.subscribe(f"down/{unique}", 2)
            far.publish(f"down/{unique}", "downwards", qos=2, retain=True)
            assert near.receive().payload == b"downwards"
            far.publish(f"down/{unique}", "", retain=True)
    finally:
        bridge.stop()
    end = proxy.entry(event="disconnect", client_id=unique)
    assert end["bridge"] is True and end["end_phase"] == "relay"
