"""Thousands of clients at once, and a broker that takes them all: on one event loop."""

import asyncio
import resource
from dataclasses import dataclass, field

from .process import LOOPBACK

ACCEPTED = b"\x20\x02\x00\x00"
DISCONNECT = b"\xe0\x00"

# How many of the clients are between their SYN and their CONNECT, so that the proxy's listener, and
# no timer of TCP, sets the pace.
OPENING_AT_ONCE = 100


def allow_descriptors(count):
    """Lets this process have so many, if its hard limit does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def connect(client_id):
    """A 3.1.1 CONNECT with clean start."""
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2, "big") + name
    return bytes([0x10, len(body)]) + body


class TakesAll(asyncio.Protocol):
    """A broker's side of a connection. What follows the CONNECT is of no interest."""

    def __init__(self, broker):
        self.broker, self.answered = broker, False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _data):
        # CONNECTs as short as these come in one piece on loopback.
        if not self.answered:
            self.answered = True
            self.broker.times.append(asyncio.get_running_loop().time())
            self.transport.write(ACCEPTED)


@dataclass
class Broker:
    """Accepts every client, and notes when."""

    name: str
    port: int = 0
    times: list = field(default_factory=list)

    async def start(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: TakesAll(self), LOOPBACK, 0, backlog=4096)
        self.port = self.server.sockets[0].getsockname()[1]


class OneVisit(asyncio.Protocol):
    """A client that waits for its CONNACK as long as it takes, and leaves."""

    def __init__(self, client_id, outcome):
        self.client_id, self.outcome = client_id, outcome
        self.answer = b""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(connect(self.client_id))

    def data_received(self, data):
        self.answer += data
        if len(self.answer) >= len(ACCEPTED) and not self.outcome.done():
            self.outcome.set_result(self.answer)
            self.transport.write(DISCONNECT)
            self.transport.close()

    def connection_lost(self, fault):
        if not self.outcome.done():
            self.outcome.set_result(fault or "closed without an answer")


async def storm(port, ids):
    """Has all of them come at once; the answers."""
    loop = asyncio.get_running_loop()
    door = asyncio.Semaphore(OPENING_AT_ONCE)

    async def visit(client_id):
        outcome = loop.create_future()
        async with door:
            await loop.create_connection(lambda: OneVisit(client_id, outcome), LOOPBACK, port)
        return await outcome

    return await asyncio.gather(*map(visit, ids))
