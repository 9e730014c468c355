"""paho-mqtt, made synchronous: every call returns when the broker has answered."""

import queue
import socket
import struct
import threading

from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTv5, MQTTv31, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .process import LOOPBACK, PATIENCE, wait_for

VERSIONS = {3: MQTTv31, 4: MQTTv311, 5: MQTTv5}

# A reason of CONNACK and DISCONNECT: MQTT 5.0 sections 3.2.2.2 and 3.14.2.1.
USE_ANOTHER_SERVER = 0x9C


class Client:
    """One client and one connection of it. Reasons are those of 5.0, into which paho turns 3.x's."""

    def __init__(
        self,
        port,
        client_id,
        version=4,
        clean=True,
        will=None,
        keepalive=60,
        user=None,
        word=None,
        path=None,
        trust=None,
    ):
        """`path` has it come over WebSocket, and `trust`, a TLS context, by TLS."""
        # 3.x keeps a session that is not clean; 5.0 keeps it for as long as asked.
        options = {} if version == 5 else {"clean_session": clean}
        self.paho = Paho(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=VERSIONS[version],
            reconnect_on_failure=False,
            transport="websockets" if path else "tcp",
            **options,
        )
        if path:
            self.paho.ws_set_options(path)
        if trust:
            self.paho.tls_set_context(trust)
        host = "localhost" if trust else LOOPBACK
        self.connack, self.session_present = None, None
        self.assigned_id = self.disconnect_reason = None
        self.pings = 0
        self.messages = queue.Queue()
        self.granted = queue.Queue()
        self.answered, self.ended = threading.Event(), threading.Event()
        self.paho.on_connect = self.on_connect
        self.paho.on_disconnect = self.on_disconnect
        self.paho.on_subscribe = lambda _c, _u, _id, reasons, _p: self.granted.put(reasons)
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self.paho.on_log = self.on_log
        if will:
            topic, payload, qos = will
            self.paho.will_set(topic, payload, qos)
        if user is not None:
            self.paho.username_pw_set(user, word)
        if version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            self.paho.connect(host, port, keepalive, clean_start=clean, properties=properties)
        else:
            self.paho.connect(host, port, keepalive)
        # paho wraps the socket of a WebSocket in something that cannot say.
        self.local_port = None if path else self.paho.socket().getsockname()[1]
        self.paho.loop_start()
        assert self.answered.wait(PATIENCE), f"no CONNACK for {client_id}"

    def on_connect(self, _client, _userdata, flags, reason, properties):
        self.connack, self.session_present = reason.value, flags.session_present
        # Only a 5.0 CONNACK has properties.
        self.assigned_id = getattr(properties, "AssignedClientIdentifier", None)
        self.answered.set()

    def on_disconnect(self, _client, _userdata, _flags, reason, _properties):
        # paho may call again, with a reason of its own, when it finds the connection gone.
        if not self.ended.is_set():
            self.disconnect_reason = reason.value
        self.ended.set()
        self.answered.set()

    def on_log(self, _client, _userdata, _level, text):
        if text == "Received PINGRESP":
            self.pings += 1

    def __enter__(self):
        assert self.connack == 0, f"refused with {self.connack}"
        return self

    def __exit__(self, *_):
        self.disconnect()

    def subscribe(self, topic, qos=0):
        self.paho.subscribe(topic, qos)
        granted = self.granted.get(timeout=PATIENCE)
        assert [reason.value for reason in granted] == [qos]

    def publish(self, topic, payload, qos=1, retain=False):
        """Returns when the broker has acknowledged it; QoS 0 when it is written."""
        self.paho.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE)

    def receive(self):
        return self.messages.get(timeout=PATIENCE)

    def disconnect(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def die(self):
        """Ends the connection with a reset and without a DISCONNECT."""
        sock = self.paho.socket()
        self.paho.loop_stop()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def wait_for_pings(self, count):
        wait_for(f"{count} PINGRESPs", lambda: self.pings >= count)


def publish_everywhere(brokers, messages, qos=1, **options):
    """Publishes (topic, payload) pairs at each broker, apart from the proxy."""
    for broker in brokers:
        with Client(broker.port, f"publisher-{broker.name}", **options) as publisher:
            for topic, payload in messages:
                publisher.publish(topic, payload, qos)


class Watch:
    """Subscribes at each broker, apart from the proxy, and tells which one a message came to."""

    def __init__(self, brokers, topic):
        self.clients = {}
        for broker in brokers:
            self.clients[broker.name] = Client(broker.port, f"watch-{broker.name}")
            self.clients[broker.name].subscribe(topic, 2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.disconnect()

    def receive(self):
        """The next message and its broker's name."""

        def any_message():
            for name, client in self.clients.items():
                if not client.messages.empty():
                    return name, client.messages.get_nowait()
            return None

        return wait_for("a message at any broker", any_message)
