"""A broker comes back: its clients go home at a set rate, or stay where they are."""

from collections import defaultdict
from datetime import datetime

import pytest
from harness.clients import USE_ANOTHER_SERVER, Client
from harness.cluster import ADMISSION, POOL, ids_at_home
from harness.process import wait_for

CLIENTS = 240
RATE = 25
WORKERS = 2
# How the proxy knows that a broker is gone, and that it is there again.
EJECTION = {"passive": {"failures": 5, "eject_for": "500ms"}}
CHECKS = {
    "active": {"type": "mqtt", "interval": "200ms", "timeout": "5s", "fall": 2, "rise": 2},
    "passive": {"failures": 0},
}


class Exile:
    """A fleet of which a third has lost its broker, which is there again."""

    def __init__(self, cluster, health, **keys):
        self.health = health
        self.proxy = cluster.serve(
            connect_timeout="5s", admission=ADMISSION, health=health, **keys
        )
        self.home = cluster.brokers["broker-3"]
        self.orders = self.proxy.orders([f"device-{n}" for n in range(CLIENTS)], POOL)
        self.exiled = {name for name, order in self.orders.items() if order[0] == self.home.name}
        self.newcomers = iter(ids_at_home(self.proxy, self.home.name, 1000, "newcomer"))
        self.fleet = cluster.fleet(self.proxy, self.orders)

    def __enter__(self):
        self.fleet.__enter__()
        self.home.kill()
        self.wait_until_connected(2)
        wait_for("the verdict", lambda: not self.is_up())
        self.home.start()
        return self

    def __exit__(self, *fault):
        self.fleet.__exit__(*fault)

    def wait_until_connected(self, times):
        def is_there(member):
            return member.client_id not in self.exiled or len(member.accepted) == times

        self.fleet.wait_until(f"its clients connected {times} times", is_there)

    def is_up(self):
        return (self.home.name,) in self.proxy.metrics("upstream_up", "upstream")

    def bring_home_back(self):
        """Checks find it by themselves; an ejection ends with a newcomer who may try it."""
        if self.health == CHECKS:
            wait_for("its checks succeed", self.is_up)
            return

        def served_at_home():
            name = next(self.newcomers)
            with Client(self.proxy.port, name):
                pass
            return self.proxy.entry(event="connect", client_id=name)["upstream"] == self.home.name

        wait_for("a client at home", served_at_home)
        assert self.proxy.process.text().count("back from ejection") == 1


@pytest.mark.parametrize("health", [EJECTION, CHECKS], ids=["ejection", "checks"])
def test_they_return_at_the_rate(cluster, health):
    with Exile(cluster, health, rebalance={"rate": RATE}) as exile:
        exile.bring_home_back()
        exile.wait_until_connected(3)
        exile.fleet.wait_for_messages(2)
        exile.fleet.settle()
    for member in exile.fleet:
        if member.client_id not in exile.exiled:
            assert member.is_undisturbed()
            continue
        assert len(member.accepted) == 3 and not member.refused
        _, (_, reason, by_packet) = member.lost
        assert by_packet is (member.version == 5)
        assert not by_packet or reason == USE_ANOTHER_SERVER

    proxy, exiled = exile.proxy, exile.exiled
    ends = proxy.wait_for_entries(len(exiled), event="disconnect", end_cause="rebalance")
    assert {one["client_id"] for one in ends} == exiled
    assert {one["end_by"] for one in ends} == {"proxy"}
    assert all(one["upstream"] == exile.orders[one["client_id"]][1] for one in ends)
    at_home = proxy.entries(event="connect", upstream=exile.home.name, route="hash")
    for name in exiled:
        assert sum(one["client_id"] == name for one in at_home) == 2

    # Each worker may be late with the one session that it has in hand.
    times = sorted(datetime.fromisoformat(one["time"]).timestamp() for one in ends)
    most = RATE + WORKERS
    assert all(later - time >= 0.999 for time, later in zip(times, times[most:], strict=False))
    assert oldest_first(ends)


def oldest_first(ends):
    """Whether each worker has taken its sessions in the order in which they came.

    Session numbers grow with every connection; those of a worker differ from another's from bit 38.
    """
    by_worker = defaultdict(list)
    for end in ends:
        session = int(end["session"], 16)
        by_worker[session >> 38].append(session)
    assert len(by_worker) == WORKERS
    return all(sessions == sorted(sessions) for sessions in by_worker.values())


def test_without_rebalance_they_stay(cluster):
    with Exile(cluster, EJECTION) as exile:
        exile.bring_home_back()
        exile.fleet.wait_for_messages(3)
        exile.fleet.settle()
    assert {len(exile.fleet.members[name].lost) for name in exile.exiled} == {1}
    others = [member for member in exile.fleet if member.client_id not in exile.exiled]
    assert all(member.is_undisturbed() for member in others)
    # New clients go where they belong.
    for _ in range(3):
        name = next(exile.newcomers)
        with Client(exile.proxy.port, name):
            pass
        entry = exile.proxy.entry(event="connect", client_id=name)
        assert (entry["upstream"], entry["route"]) == (exile.home.name, "hash")
