"""A broker that is stopped in its tracks: its port accepts, and nothing is ever answered."""

from concurrent.futures import ThreadPoolExecutor

from harness.clients import Client
from harness.cluster import ids_at_home

FAILURES = 3
CROWD = 10
KEYS = {"connack_timeout": "300ms"}


def passive(eject_for):
    return {"passive": {"failures": FAILURES, "window": "5m", "eject_for": eject_for}}


def come(proxy, name, version=4):
    """One client, and how it fared."""
    with Client(proxy.port, name, version):
        pass
    entry = proxy.entry(event="connect", client_id=name)
    return entry["upstream"], entry["tries"]


def test_ejected_and_left_alone(cluster):
    # Longer than any test may take.
    proxy = cluster.serve(**KEYS, health=passive("1h"))
    frozen = cluster.brokers["broker-1"]
    frozen.freeze()
    orders = ids_at_home(proxy, frozen.name, 20, "device")
    for number, (name, order) in enumerate(orders.items()):
        tries = 2 if number < FAILURES else 1
        assert come(proxy, name, (4, 5)[number % 2]) == (order[1], tries)
    outcomes = proxy.metrics("upstream_tries_total", "upstream", "outcome")
    assert outcomes[frozen.name, "no_connack"] == FAILURES
    assert proxy.metrics("upstream_ejections_total", "upstream") == {(frozen.name,): 1}
    assert proxy.metrics("upstream_up", "upstream") == {("broker-2",): 1, ("broker-3",): 1}
    assert proxy.process.text().count("ejected for 3600s") == 1


def test_a_trial_brings_it_back(cluster):
    proxy = cluster.serve(**KEYS, health=passive("500ms"))
    frozen = cluster.brokers["broker-1"]
    frozen.freeze()
    clients = iter(ids_at_home(proxy, frozen.name, 3000, "device").items())

    def next_with(expected):
        """Lets clients come one by one until one fares so; the others find it ejected."""
        for name, order in clients:
            fared = come(proxy, name)
            if fared == expected(order):
                return
            assert fared == (order[1], 1)

    def elsewhere(order):
        return order[1], 2

    def at_home(order):
        return order[0], 1

    for _ in range(FAILURES):
        next_with(elsewhere)
    assert proxy.metrics("upstream_ejections_total", "upstream") == {(frozen.name,): 1}
    # The first trial is in vain, and costs a client some time.
    next_with(elsewhere)
    assert proxy.metrics("upstream_ejections_total", "upstream") == {(frozen.name,): 2}
    assert proxy.process.text().count("ejected for 1s") == 1
    frozen.thaw()
    next_with(at_home)
    for _ in range(5):
        name, order = next(clients)
        assert come(proxy, name) == at_home(order)
    assert proxy.process.text().count("back from ejection") == 1
    assert proxy.metrics("upstream_ejections_total", "upstream") == {(frozen.name,): 2}


def test_one_trial_at_a_time(cluster):
    """Of a crowd that finds an ejection over, one client pays for finding out."""
    proxy = cluster.serve(**KEYS, health=passive("200ms"))
    frozen = cluster.brokers["broker-1"]
    frozen.freeze()
    clients = iter(ids_at_home(proxy, frozen.name, 2000, "device").items())
    for _ in range(FAILURES):
        name, order = next(clients)
        assert come(proxy, name) == (order[1], 2)

    def ejections():
        return proxy.metrics("upstream_ejections_total", "upstream")[frozen.name,]

    with ThreadPoolExecutor(CROWD) as crowd:
        while ejections() < 3:
            names, orders = zip(*(next(clients) for _ in range(CROWD)), strict=True)
            fared = list(crowd.map(lambda name: come(proxy, name), names))
            seconds = [order[1] for order in orders]
            assert [upstream for upstream, _ in fared] == seconds
            assert {tries for _, tries in fared} <= {1, 2}
    outcomes = proxy.metrics("upstream_tries_total", "upstream", "outcome")
    assert outcomes[frozen.name, "no_connack"] == FAILURES + ejections() - 1
