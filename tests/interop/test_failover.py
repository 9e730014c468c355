"""A broker is killed under 300 clients: its own clients move on, and the others notice nothing."""

import time
from collections import Counter
from datetime import datetime

import pytest
from harness.cluster import POOL, ids_at_home

CLIENTS = 300


def spread_out(proxy, _victim):
    return proxy.orders([f"device-{number}" for number in range(CLIENTS)], POOL)


def all_on_one(proxy, victim):
    return ids_at_home(proxy, victim, CLIENTS, "device")


@pytest.mark.parametrize("clients", [spread_out, all_on_one])
def test_killed(cluster, say, clients):
    proxy = cluster.serve()
    victim = cluster.brokers["broker-2"]
    orders = clients(proxy, victim.name)
    concerned = {name for name, order in orders.items() if order[0] == victim.name}

    with cluster.fleet(proxy, orders) as fleet:
        fleet.wait_for_messages(2)
        killed = time.time()
        victim.kill()
        fleet.wait_until(
            "its clients back",
            lambda member: member.client_id not in concerned or len(member.accepted) > 1,
        )
        fleet.wait_for_messages(2)
        fleet.settle()

    assert {member.client_id for member in fleet if member.lost} == concerned
    for member in fleet:
        if member.client_id in concerned:
            assert (len(member.lost), len(member.accepted), member.refused) == (1, 2, [])
        else:
            assert member.is_undisturbed()

    connects = proxy.wait_for_entries(CLIENTS + len(concerned), event="connect")
    again = [one for one in connects if one["upstream"] != orders[one["client_id"]][0]]
    assert {one["client_id"]: one["upstream"] for one in again} == {
        name: orders[name][1] for name in concerned
    }
    assert len(again) == len(concerned)
    assert {one["route"] for one in again} == {"fallback"}
    ends = proxy.wait_for_entries(len(concerned), event="disconnect", upstream=victim.name)
    assert {one["end_by"] for one in ends} == {"upstream"}

    # Those that came before it was ejected met with a closed port, or with its last breath.
    tries = Counter(one["tries"] for one in again)
    outcomes = proxy.metrics("upstream_tries_total", "upstream", "outcome")
    failed = outcomes[victim.name, "connect_failure"] + outcomes[victim.name, "no_connack"]
    assert failed == tries[2] >= 5
    assert proxy.metrics("upstream_ejections_total", "upstream") == {(victim.name,): 1}

    last = max(datetime.fromisoformat(one["time"]).timestamp() for one in again)
    seen = max(fleet.members[name].accepted[1] for name in concerned)
    say(
        f"failover of {len(concerned)} clients of {CLIENTS}: the last one accepted elsewhere "
        f"{1000 * (last - killed):.0f} ms after the kill by the access log, "
        f"{1000 * (seen - killed):.0f} ms by the clients, {tries[2]} with a second try"
    )
