"""One function for each client, which begins a session and resumes it.

To begin, the client connects with a session that outlives the connection, subscribes to NAME/0,
NAME/1 and NAME/2, publishes to each at the QoS of its name, and disconnects once it has received
all three. To resume, it connects, waits for one message, and disconnects. Each function returns a
list of (topic, QoS, payload).
"""

import asyncio
import json
import os
import ssl
import subprocess
from dataclasses import dataclass

import aiomqtt
import gmqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .clients import VERSIONS, Client
from .process import PATIENCE, Process
from .proxy import ROOT, binary

LEVELS = (0, 1, 2)
# Seconds.
EXPIRY = 3600


@dataclass
class Visit:
    """One connection of a client: how it comes, and what it is there for."""

    begins: bool
    proxy: object
    transport: str
    version: int
    name: str
    authority: object
    folder: object

    @property
    def port(self):
        return self.proxy.port if self.transport == "tcp" else self.proxy.port_of(self.transport)

    @property
    def url(self):
        return {
            "tcp": self.proxy.url, "ws": self.proxy.ws_url,
            "tls": self.proxy.tls_url, "wss": self.proxy.wss_url,
        }[self.transport]()  # fmt: skip

    @property
    def path(self):
        """Of WebSocket; None without it."""
        return self.proxy.websocket["path"] if self.transport in ("ws", "wss") else None

    @property
    def trust(self):
        """A TLS context; None without TLS."""
        if self.transport not in ("tls", "wss"):
            return None
        return ssl.create_default_context(cafile=self.authority.file)

    @property
    def awaited(self):
        return len(LEVELS) if self.begins else 1

    def properties(self):
        """paho's, of a 5.0 CONNECT."""
        if self.version != 5:
            return None
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = EXPIRY
        return properties


def paho(visit):
    with Client(
        visit.port, visit.name, visit.version, clean=False, path=visit.path, trust=visit.trust
    ) as client:
        if visit.begins:
            for qos in LEVELS:
                client.subscribe(f"{visit.name}/{qos}", qos)
            for qos in LEVELS:
                client.publish(f"{visit.name}/{qos}", "hello", qos)
        got = [client.receive() for _ in range(visit.awaited)]
    return [(one.topic, one.qos, one.payload.decode()) for one in got]


def with_aiomqtt(visit):
    async def talk():
        protocol = aiomqtt.ProtocolVersion(VERSIONS[visit.version])
        keeps = {"clean_start": False} if visit.version == 5 else {"clean_session": False}
        async with aiomqtt.Client(
            "localhost", visit.port, identifier=visit.name, protocol=protocol,
            transport="websockets" if visit.path else "tcp", websocket_path=visit.path,
            tls_context=visit.trust, properties=visit.properties(), **keeps,
        ) as client:  # fmt: skip
            if visit.begins:
                for qos in LEVELS:
                    await client.subscribe(f"{visit.name}/{qos}", qos)
                for qos in LEVELS:
                    await client.publish(f"{visit.name}/{qos}", "hello", qos)
            found = []
            async for one in client.messages:
                found.append((str(one.topic), one.qos, one.payload.decode()))
                if len(found) == visit.awaited:
                    return found

    return asyncio.run(asyncio.wait_for(talk(), PATIENCE))


def with_gmqtt(visit):
    async def talk():
        found, subscribed, complete = [], asyncio.Semaphore(0), asyncio.Event()

        def on_message(_client, topic, payload, qos, _properties):
            found.append((topic, qos, payload.decode()))
            if len(found) == visit.awaited:
                complete.set()
            return 0

        keeps = {"session_expiry_interval": EXPIRY} if visit.version == 5 else {}
        client = gmqtt.Client(visit.name, clean_session=False, **keeps)
        client.on_message = on_message
        client.on_subscribe = lambda *_: subscribed.release()
        await client.connect("localhost", visit.port, visit.trust or False, version=visit.version)
        if visit.begins:
            for qos in LEVELS:
                client.subscribe(f"{visit.name}/{qos}", qos)
                await subscribed.acquire()
            for qos in LEVELS:
                client.publish(f"{visit.name}/{qos}", "hello", qos)
        await complete.wait()
        # `disconnect` does not wait for acknowledgements, but this answer comes after them.
        client.subscribe(f"{visit.name}/1", 1)
        await subscribed.acquire()
        await client.disconnect()
        return found

    return asyncio.run(asyncio.wait_for(talk(), PATIENCE))


def mqttjs(visit):
    script = ROOT / "tests/interop/mqttjs/session.js"
    mode = "begin" if visit.begins else "resume"
    done = subprocess.run(
        ["node", script, mode, visit.url, str(visit.version), visit.name],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(visit.authority.file)},
    )
    return [tuple(one) for one in json.loads(done.stdout)]


def rumqttc(visit):
    program = binary().parent / "examples/rumqttc"
    mode = "begin" if visit.begins else "resume"
    done = subprocess.run(
        [program, mode, str(visit.port), str(visit.version), visit.name],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    split = (line.split(" ", 2) for line in done.stdout.splitlines())
    return [(topic, int(qos), payload) for topic, qos, payload in split]


def mosquitto(visit):
    """mosquitto_sub has the session; mosquitto_pub, a client of its own, publishes into it."""
    level = {4: "mqttv311", 5: "mqttv5"}[visit.version]
    trust = ["--cafile", visit.authority.file] if visit.trust else []
    common = ["-h", "localhost", "-p", visit.port, "-V", level, *trust]
    keeps = ["-c", "-x", EXPIRY] if visit.version == 5 else ["-c"]
    mode = "begin" if visit.begins else "resume"
    subscriber = Process(
        f"{visit.name}-{visit.transport}-{mode}",
        ["stdbuf", "--output=L", "mosquitto_sub", *common, *keeps, "-i", visit.name, "-q", 2, "-d",
         "-t", f"{visit.name}/#", "-C", visit.awaited, "-F", "message: %t %q %p"],
        visit.folder,
    )  # fmt: skip
    try:
        if visit.begins:
            subscriber.wait_until("a SUBACK", lambda: "Subscribed" in subscriber.text())
        # The brokers share nothing: the publisher has to reach the subscriber's.
        names = [f"{visit.name}-pub-{number}" for number in range(50)]
        homes = visit.proxy.homes([visit.name, *names], "mqtt")
        sender = next(name for name in names if homes[name] == homes[visit.name])
        for qos in LEVELS if visit.begins else ():
            what = ["-i", sender, "-t", f"{visit.name}/{qos}", "-q", qos, "-m", "hello"]
            command = ["mosquitto_pub", *map(str, [*common, *what])]
            subprocess.run(command, check=True, timeout=PATIENCE)
        assert subscriber.wait() == 0
    finally:
        if subscriber.child.poll() is None:
            subscriber.kill()
    lines = [line for line in subscriber.text().splitlines() if line.startswith("message: ")]
    split = (line.removeprefix("message: ").split(" ", 2) for line in lines)
    return [(topic, int(qos), payload) for topic, qos, payload in split]


PLAIN, EVERY = ("tcp", "tls"), ("tcp", "tls", "ws", "wss")
# Each client and its transports. rumqttc's TLS and WebSocket need crates that nothing else here
# does, one of them no longer maintained (rustls-pemfile).
CLIENTS = {
    "paho": (paho, EVERY),
    "aiomqtt": (with_aiomqtt, EVERY),
    "gmqtt": (with_gmqtt, PLAIN),
    "mqttjs": (mqttjs, EVERY),
    "rumqttc": (rumqttc, ("tcp",)),
    "mosquitto": (mosquitto, PLAIN),
}
