"""Many paho clients in one thread, which come back at once when they lose their connection."""

import itertools
import selectors
import threading
import time
from collections import deque

from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .clients import VERSIONS
from .process import LOOPBACK, PATIENCE, wait_for

# Seconds. One message a second of 300 clients leaves most of a slow machine to the brokers.
PERIOD = 1.0
# A refused client, or one that finds no proxy, would spin without it.
RETRY_AFTER_REFUSAL = 0.1
# A broker's backlog of connections not accepted yet is short: Mosquitto's is 100.
MOST_AT_ONCE = 20
# A client that waits for its acknowledgements has no use for more.
MOST_UNACKNOWLEDGED = 10


class Member:
    """A client with a persistent session, which sends numbered messages of QoS 1 to itself.

    All times are those of the clock on the wall, as in the access log.
    """

    def __init__(self, client_id, version):
        self.client_id, self.version = client_id, version
        self.accepted = []  # times
        self.lost = []  # (time, reason, whether the reason came in a DISCONNECT)
        self.refused = []  # reasons
        self.sent, self.acknowledged, self.received = 0, set(), []
        # The first message that was sent into the present session with the subscription in place.
        self.first = 0
        self.connected = self.subscribed = False
        self.in_flight = {}
        options = {} if version == 5 else {"clean_session": False}
        self.paho = Paho(
            CallbackAPIVersion.VERSION2, client_id, protocol=VERSIONS[version],
            reconnect_on_failure=False, **options,
        )
        self.paho.on_connect = self.on_connect
        self.paho.on_disconnect = self.on_disconnect
        self.paho.on_subscribe = self.on_subscribe
        self.paho.on_publish = self.on_publish
        self.paho.on_message = lambda _c, _u, message: self.received.append(int(message.payload))

    def connect(self, port):
        """The first time; later `paho.reconnect` does the same again."""
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            self.paho.connect(LOOPBACK, port, clean_start=False, properties=properties)
        else:
            self.paho.connect(LOOPBACK, port)

    def send(self):
        if self.subscribed and self.sent - len(self.acknowledged) < MOST_UNACKNOWLEDGED:
            number, self.sent = self.sent, self.sent + 1
            mid = self.paho.publish(f"fleet/{self.client_id}", str(number), 1).mid
            self.in_flight[mid] = number

    def is_settled(self):
        """Whether all that it has sent is acknowledged, and all that can be is back."""
        return self.subscribed and len(self.acknowledged) == self.sent and not self.missing()

    def missing(self):
        """The messages that its present session owes it."""
        return set(range(self.first, self.sent)).difference(self.received)

    def is_undisturbed(self):
        """Whether it has noticed nothing: one connection, every message once and in order."""
        return (
            len(self.accepted) == 1
            and not self.lost
            and not self.refused
            and self.received == list(range(self.sent))
            and len(self.acknowledged) == self.sent
        )

    def on_connect(self, _client, _userdata, flags, reason, _properties):
        if reason.value != 0:
            self.refused.append(reason.value)
            return
        self.accepted.append(time.time())
        self.connected = True
        if flags.session_present:
            self.subscribed = True
        else:
            self.paho.subscribe(f"fleet/{self.client_id}", 1)

    def on_disconnect(self, _client, _userdata, flags, reason, _properties):
        # paho may call again, with a reason of its own, when it finds the connection gone.
        if self.connected:
            by_packet = flags.is_disconnect_packet_from_server
            self.lost.append((time.time(), reason.value, by_packet))
        self.connected = self.subscribed = False

    def on_subscribe(self, _client, _userdata, _mid, reasons, _properties):
        assert [reason.value for reason in reasons] == [1]
        # What was in flight before may have been sent again ahead of the subscription.
        self.first, self.subscribed = self.sent, True

    def on_publish(self, _client, _userdata, mid, _reason, _properties):
        self.acknowledged.add(self.in_flight.pop(mid))


class Fleet:
    """Clients of these versions in turn, connected and sending until the block ends: each a message
    every `period` seconds. Waits fail after `patience` seconds."""

    def __init__(self, port, ids, versions=(4, 5), period=PERIOD, patience=PATIENCE):
        self.port, self.period, self.patience = port, period, patience
        in_turn = zip(ids, itertools.cycle(versions), strict=False)
        self.members = {name: Member(name, version) for name, version in in_turn}
        self.selector = selectors.DefaultSelector()
        self.sending, self.stopping, self.fault = True, False, None
        # (when, member); all are due after the same time, so that they stay sorted.
        self.due = deque()
        self.returning = []
        self.thread = threading.Thread(target=self.run, name="fleet", daemon=True)

    def __enter__(self):
        self.thread.start()
        self.wait_until("all of them connected", lambda member: member.subscribed)
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()

    def __iter__(self):
        return iter(self.members.values())

    def wait_until(self, what, condition):
        """Waits until it holds for every member."""

        def check():
            if self.fault:
                raise self.fault
            return all(map(condition, self))

        wait_for(what, check, self.patience)

    def wait_for_messages(self, count):
        """Until so many more have gone round for every member."""
        goal = {name: member.sent + count for name, member in self.members.items()}

        def has_them(member):
            return member.sent >= goal[member.client_id] and not member.missing()

        self.wait_until(f"{count} more messages", has_them)

    def settle(self):
        """Sends no more, and waits for all that is still under way."""
        self.sending = False
        self.wait_until("all messages acknowledged and received", Member.is_settled)

    def run(self):
        opening = set()
        try:
            for number, member in enumerate(self):
                self.watch(member)
                member.connect(self.port)
                opening.add(member)
                while len(opening) >= MOST_AT_ONCE:
                    self.turn()
                    opening = {other for other in opening if not other.subscribed}
                spread = self.period * number / len(self.members)
                self.due.append((time.monotonic() + spread, member))
            while not self.stopping:
                self.turn()
            self.leave()
        except Exception as fault:
            self.fault = fault

    def watch(self, member):
        paho, selector, read = member.paho, self.selector, selectors.EVENT_READ
        both = read | selectors.EVENT_WRITE

        def lost(_client, _userdata, sock):
            selector.unregister(sock)
            wait = RETRY_AFTER_REFUSAL if member.refused else 0
            self.returning.append((time.monotonic() + wait, member))

        paho.on_socket_open = lambda _c, _u, sock: selector.register(sock, read, member)
        paho.on_socket_close = lost
        paho.on_socket_register_write = lambda _c, _u, sock: selector.modify(sock, both, member)
        paho.on_socket_unregister_write = lambda _c, _u, sock: selector.modify(sock, read, member)

    def turn(self):
        self.move_bytes()
        self.bring_back()
        while self.due and self.due[0][0] <= time.monotonic():
            at, member = self.due.popleft()
            if self.sending:
                member.send()
            self.due.append((at + self.period, member))

    def leave(self):
        """Says goodbye, and waits for the brokers to close, which is theirs to do."""
        for member in self:
            # What comes now is no loss.
            member.connected = False
            member.paho.disconnect()
        until = time.monotonic() + PATIENCE
        while self.selector.get_map() and time.monotonic() < until:
            self.move_bytes()

    def move_bytes(self):
        for key, events in self.selector.select(0.01):
            paho = key.data.paho
            if events & selectors.EVENT_READ and paho.socket() is key.fileobj:
                paho.loop_read()
            if events & selectors.EVENT_WRITE and paho.socket() is key.fileobj:
                paho.loop_write()

    def bring_back(self):
        now = time.monotonic()
        returning, self.returning = self.returning, []
        for at, member in returning:
            if at > now:
                self.returning.append((at, member))
                continue
            try:
                member.paho.reconnect()
            except OSError:
                self.returning.append((now + RETRY_AFTER_REFUSAL, member))
