"""This host runs out of local ports: in a network of the test's own, in which it has very few."""

import http.client
import itertools
import socket
import struct
import threading
from collections import Counter

import pytest
from harness.network import private_network, set_local_ports
from harness.process import LOOPBACK, PATIENCE, wait_for
from harness.proxy import Proxy
from harness.scripted import connack, read_packet

POOL = "mqtt"
# Apart from those that listeners have, and those that the test itself takes.
LOW, HIGH = 10000, 10003
PORTS = HIGH - LOW + 1
SOURCES = ["127.0.0.2", "127.0.0.3"]
own_ports = itertools.count(11000)
# MQTT 3.1.1 section 3.2.2.3.
ACCEPTED, UNAVAILABLE = 0, 3


@pytest.fixture
def serve(tmp_path):
    """Starts proxies in a network of their own, in which the test is too; then ports become few."""
    try:
        with private_network():
            pass
    except OSError as fault:
        pytest.skip(f"network namespaces and nftables need root's rights: {fault}")
    started = []

    def start(brokers, **keys):
        started.append(Spared(tmp_path, {POOL: brokers}, "proxy", **keys))
        set_local_ports(LOW, HIGH)
        return started[-1]

    with private_network():
        try:
            yield start
            for proxy in started:
                proxy.stop()
        finally:
            for proxy in started:
                proxy.kill()


class Broker:
    """Accepts everybody, and notes who is connected from where."""

    def __init__(self, name="broker"):
        self.name = name
        self.peers = {}
        self.listener = socket.create_server((LOOPBACK, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, name=name, daemon=True).start()

    def run(self):
        while True:
            sock, (address, _) = self.listener.accept()
            threading.Thread(target=self.hold, args=(sock, address), daemon=True).start()

    def hold(self, sock, address):
        with sock:
            if read_packet(sock) is None:
                return
            self.peers[sock] = address
            sock.sendall(connack(4, ACCEPTED))
            try:
                while sock.recv(1024):
                    pass
            except ConnectionResetError:
                pass
            del self.peers[sock]


class Spared(Proxy):
    """A proxy that is asked for its metrics without taking one of the ports it has."""

    def get(self, path):
        own = (LOOPBACK, next(own_ports))
        admin = http.client.HTTPConnection(LOOPBACK, self.admin, PATIENCE, source_address=own)
        admin.request("GET", path)
        answer = admin.getresponse().read().decode()
        admin.close()
        return answer


class Device:
    """A client, from a port that no other has."""

    def __init__(self, proxy, name):
        self.name = name
        own = (LOOPBACK, next(own_ports))
        self.sock = socket.create_connection((LOOPBACK, proxy.port), PATIENCE, source_address=own)
        body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack(">H", len(name)) + name.encode()
        self.sock.sendall(bytes([0x10, len(body)]) + body)
        self.code = read_packet(self.sock)[3]

    def reset(self):
        """Leaves with a reset, which the proxy passes on: no port is left in TIME_WAIT."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def come(proxy, count, prefix):
    return [Device(proxy, f"{prefix}-{number}") for number in range(count)]


def ports(proxy, *labels):
    return proxy.metrics("upstream_ports_active", *labels)


def test_each_source_has_ports_of_its_own(serve):
    """When all are used up nobody is blamed, and one that is free again is found."""
    broker = Broker()
    passive = {"failures": 1, "max_ejected_percent": 100}
    proxy = serve([broker], source_addresses=SOURCES, health={"passive": passive})
    full = {(source,): PORTS for source in SOURCES}
    served = come(proxy, 2 * PORTS, "served")
    assert [one.code for one in served] == [ACCEPTED] * 2 * PORTS
    assert Counter(broker.peers.values()) == {source: PORTS for source in SOURCES}
    assert ports(proxy, "source") == full

    assert [one.code for one in come(proxy, 3, "over")] == [UNAVAILABLE] * 3
    rejects = proxy.wait_for_entries(3, event="reject")
    for one in rejects:
        end = (one["end_by"], one["end_phase"], one["end_cause"])
        assert end == ("proxy", "dial", "no_upstream")
        assert one["detail"] == (
            f"no local port left to reach {LOOPBACK}:{broker.port} from {', '.join(SOURCES)}: "
            f"add addresses to source_addresses of pool {POOL}, or widen "
            "net.ipv4.ip_local_port_range"
        )
    tries = proxy.metrics("upstream_tries_total", "outcome")
    assert tries == {("accepted",): 2 * PORTS, ("no_port",): 3}
    assert proxy.metrics("upstream_up", "upstream") == {(broker.name,): 1}
    assert proxy.metrics("upstream_ejections_total") == {}
    # At most one in five seconds, which three clients do not take, but a busy machine may.
    assert 1 <= proxy.process.text().count("WARN no local port left to reach") < 3

    # One leaves; whichever source's turn it is, the next client gets the port.
    for number in range(2 * PORTS):
        leaver = served.pop(0)
        leaver.reset()
        proxy.entry(event="disconnect", client_id=leaver.name)
        (comer,) = come(proxy, 1, f"late{number}")
        assert comer.code == ACCEPTED
        assert ports(proxy, "source") == full
        served.append(comer)
    assert Counter(broker.peers.values()) == {source: PORTS for source in SOURCES}

    for one in served:
        one.reset()
    wait_for("the ports", lambda: ports(proxy, "source") == {})
    again = come(proxy, 2 * PORTS, "again")
    assert [one.code for one in again] == [ACCEPTED] * 2 * PORTS
    assert ports(proxy, "source") == full


@pytest.mark.parametrize("sources", [[], ["127.0.0.2"]])
def test_each_broker_has_all_ports(serve, sources):
    """One port serves a session on each broker; who finds none left goes to the next broker."""
    brokers = [Broker("broker-1"), Broker("broker-2")]
    proxy = serve(brokers, source_addresses=sources)
    devices = come(proxy, 2 * PORTS, "device")
    assert [one.code for one in devices] == [ACCEPTED] * 2 * PORTS
    source = sources[0] if sources else "auto"
    assert ports(proxy, "upstream", "source") == {(one.name, source): PORTS for one in brokers}
    assert [len(one.peers) for one in brokers] == [PORTS, PORTS]
    connects = proxy.wait_for_entries(2 * PORTS, event="connect")
    homes = proxy.homes([one.name for one in devices], POOL)
    moved = [one for one in connects if one["upstream"] != homes[one["client_id"]]]
    assert moved and {one["tries"] for one in moved} == {2}

    (over,) = come(proxy, 1, "over")
    assert over.code == UNAVAILABLE
    reject = proxy.entry(event="reject")
    assert reject["tries"] == 2
    origin = f" from {source}" if sources else ""
    assert reject["detail"] == (
        f"no local port left to reach {reject['upstream_address']}{origin}: add addresses to "
        f"source_addresses of pool {POOL}, or widen net.ipv4.ip_local_port_range"
    )
    tries = proxy.metrics("upstream_tries_total", "outcome")
    assert tries == {("accepted",): 2 * PORTS, ("no_port",): len(moved) + 2}


def test_checks_are_skipped_meanwhile(serve):
    """A broker that cannot be asked is not down."""
    broker = Broker()
    active = {"type": "tcp", "interval": "100ms", "fall": 1}
    proxy = serve([broker], source_addresses=SOURCES[:1], health={"active": active})

    def checks():
        counted = proxy.metrics("health_checks_total", "outcome")
        return {outcome: count for (outcome,), count in counted.items()}

    served = []

    def skipped():
        # The ports of probes that have ended come free again after a second, for the first that asks.
        (device,) = come(proxy, 1, f"device{len(served)}")
        if device.code == ACCEPTED:
            served.append(device)
        return "skipped" in checks()

    wait_for("a check is skipped", skipped)
    assert len(served) <= PORTS
    assert proxy.metrics("upstream_up", "upstream") == {(broker.name,): 1}
    good = checks().get("ok", 0)
    for one in served:
        one.reset()
    wait_for("checks succeed", lambda: checks().get("ok", 0) > good)
    assert set(checks()) == {"ok", "skipped"}
    assert proxy.process.text().count(" down: ") == 0
