"""The network loses every packet of one broker, and says nothing: no reset, no closed port."""

import pytest
from harness.clients import USE_ANOTHER_SERVER, Client
from harness.cluster import POOL, ids_at_home
from harness.network import all_lost
from harness.process import wait_for

CLIENTS = 60
FAILURES = 3
CONNECT_TIMEOUT = "300ms"


# Of the test and all that it starts.
pytestmark = pytest.mark.usefixtures("network")


def come(proxy, name, version=4):
    """One client, and how it fared."""
    with Client(proxy.port, name, version):
        pass
    entry = proxy.entry(event="connect", client_id=name)
    return entry["upstream"], entry["tries"]


def orders(proxy):
    return proxy.orders([f"device-{number}" for number in range(CLIENTS)], POOL)


def test_what_clients_meet_with(cluster):
    """Without checks: dials time out, the broker is ejected; sessions wait, and lose nothing."""
    passive = {"failures": FAILURES, "window": "5m", "eject_for": "2s"}
    proxy = cluster.serve(connect_timeout=CONNECT_TIMEOUT, health={"passive": passive})
    lost = cluster.brokers["broker-2"]
    newcomers = iter(ids_at_home(proxy, lost.name, 1000, "newcomer").items())
    with cluster.fleet(proxy, orders(proxy)) as fleet:
        fleet.wait_for_messages(1)
        with all_lost(lost.port):
            for number in range(FAILURES):
                name, order = next(newcomers)
                assert come(proxy, name, (4, 5)[number % 2]) == (order[1], 2)
            outcomes = proxy.metrics("upstream_tries_total", "upstream", "outcome")
            assert outcomes[lost.name, "connect_timeout"] == FAILURES
            assert proxy.metrics("upstream_ejections_total", "upstream") == {(lost.name,): 1}
        # The newcomers of the time of its ejection are not kept waiting; one is its trial then.

        def served_at_home():
            name, order = next(newcomers)
            fared = come(proxy, name)
            assert fared in [(order[1], 1), (order[0], 1)]
            return fared == (order[0], 1)

        wait_for("a client at home", served_at_home)
        assert proxy.process.text().count("back from ejection") == 1
        fleet.wait_for_messages(2)
        fleet.settle()
    # TCP has sent again what was lost, for those sessions too that had packets under way.
    assert all(member.is_undisturbed() for member in fleet)


@pytest.mark.parametrize("kind", ["tcp", "mqtt"])
def test_what_checks_find(cluster, kind):
    """With checks: the broker is found down, and its sessions are closed rather than left to it."""
    active = {"type": kind, "interval": "200ms", "timeout": "300ms", "fall": 2, "rise": 2}
    health = {"active": active, "passive": {"failures": 0}}
    proxy = cluster.serve(connect_timeout="5s", health=health, on_down="close")
    lost = cluster.brokers["broker-2"]
    routed = orders(proxy)
    concerned = {name for name, order in routed.items() if order[0] == lost.name}

    def up():
        return {name for (name,) in proxy.metrics("upstream_up", "upstream")}

    with cluster.fleet(proxy, routed) as fleet:
        fleet.wait_for_messages(1)
        with all_lost(lost.port):
            wait_for("its checks fail", lambda: up() == {"broker-1", "broker-3"})
            fleet.wait_until(
                "its clients elsewhere",
                lambda member: member.client_id not in concerned or len(member.accepted) == 2,
            )
            fleet.wait_for_messages(1)
        wait_for("its checks succeed again", lambda: up() == set(cluster.brokers))
        name, order = next(iter(ids_at_home(proxy, lost.name, 1, "newcomer").items()))
        assert come(proxy, name) == (order[0], 1)
        fleet.wait_for_messages(1)
        fleet.settle()
    for member in fleet:
        if member.client_id in concerned:
            assert (len(member.lost), len(member.accepted), member.refused) == (1, 2, [])
            ((_, reason, by_packet),) = member.lost
            assert by_packet is (member.version == 5)
            assert not by_packet or reason == USE_ANOTHER_SERVER
        else:
            assert member.is_undisturbed()
    ends = proxy.wait_for_entries(len(concerned), event="disconnect", end_cause="down")
    assert {one["client_id"] for one in ends} == concerned
    assert {(one["end_by"], one["upstream"]) for one in ends} == {("proxy", lost.name)}
    elsewhere = proxy.wait_for_entries(len(concerned), event="connect", route="fallback")
    for one in elsewhere:
        assert (one["upstream"], one["tries"]) == (routed[one["client_id"]][1], 1)
    assert proxy.process.text().count(" down: ") == 1
    assert proxy.process.text().count(" up: ") == 1
