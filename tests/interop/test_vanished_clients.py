"""Clients whose network takes every packet and sends none: TCP's keep-alive finds them."""

import socket

import pytest
from harness.network import lost_to
from harness.process import LOOPBACK, wait_for

IDLE, INTERVAL = "1s", "1s"


# Of the test and all that it starts.
pytestmark = pytest.mark.usefixtures("network")


def connected(proxy, name):
    """A client of 3.1.1 without keep alive."""
    client = socket.create_connection((LOOPBACK, proxy.port))
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name.encode()
    client.sendall(bytes([0x10, len(body)]) + body)
    assert client.recv(4) == b"\x20\x02\x00\x00"
    return client


@pytest.mark.parametrize("count", [1, 3])
def test_one_that_vanishes(cluster, count):
    """The session ends after as many probes as are configured, whatever the idle limit."""
    keepalive = {"idle": IDLE, "interval": INTERVAL, "count": count}
    proxy = cluster.serve(timeouts={"tcp_keepalive": keepalive, "idle": "none"})
    client = connected(proxy, "vanished")
    with lost_to(client.getsockname()[1]) as lost:
        end = proxy.entry(event="disconnect", client_id="vanished")
        # The probes, and the reset.
        assert lost() == count + 1
    assert (end["end_by"], end["end_phase"], end["end_cause"]) == ("client", "relay", "timeout")


def test_the_short_form(cluster):
    """It sets all three."""
    proxy = cluster.serve(timeouts={"tcp_keepalive": "2s", "idle": "none"})
    client = connected(proxy, "vanished")
    with lost_to(client.getsockname()[1]) as lost:
        proxy.entry(event="disconnect", client_id="vanished")
        assert lost() == 3 + 1


def test_one_whose_packets_get_lost_for_a_moment(cluster):
    """A probe or two that are lost end nothing, although more time has gone by than sent bytes have."""
    keepalive = {"idle": IDLE, "interval": INTERVAL, "count": 5}
    proxy = cluster.serve(timeouts={"tcp_keepalive": keepalive, "idle": "none"})
    client = connected(proxy, "back")
    with lost_to(client.getsockname()[1]) as lost:
        wait_for("two lost probes", lambda: lost() == 2)
    client.sendall(b"\xC0\x00")
    assert client.recv(2) == b"\xD0\x00"
    client.close()
    end = proxy.entry(event="disconnect", client_id="back")
    assert (end["end_by"], end["end_cause"]) == ("client", "closed")
