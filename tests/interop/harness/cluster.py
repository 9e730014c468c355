"""Brokers that a test may break, with a proxy and a fleet of their own."""

from .brokers import Mosquitto
from .fleet import Fleet
from .proxy import Proxy

POOL = "mqtt"
# Mosquitto's backlog is 100 connections. What overflows it waits until TCP asks again, which is a
# second later (RFC 6298 section 2.1): a queue at the door is faster than a crowd before it.
ADMISSION = {"rate": 1000, "burst": 50}


class Cluster:
    """Three Mosquittos, and what a test puts in front of them."""

    def __init__(self, folder):
        self.folder = folder
        self.brokers, self.proxies = {}, []
        for number in (1, 2, 3):
            name = f"broker-{number}"
            self.brokers[name] = Mosquitto(folder, name)

    def serve(self, brokers=None, **keys):
        """A proxy with these keys in its pool; before all brokers if none are named."""
        pools = {POOL: brokers or list(self.brokers.values())}
        self.proxies.append(Proxy(self.folder, pools, f"proxy-{len(self.proxies)}", **keys))
        return self.proxies[-1]

    @staticmethod
    def fleet(proxy, ids):
        return Fleet(proxy.port, ids)

    def stop(self):
        """Proxies first: that the brokers go is nothing for them to see."""
        try:
            for proxy in self.proxies:
                if proxy.process.child.poll() is None:
                    proxy.stop()
        finally:
            self.kill()

    def kill(self):
        for proxy in self.proxies:
            proxy.kill()
        for broker in self.brokers.values():
            broker.stop()


def ids_at_home(proxy, home, count, prefix):
    """So many client IDs whose first broker is this one, and the orders of their brokers."""
    # Ten times as many are enough for one of up to five equal brokers, by a wide margin.
    orders = proxy.orders([f"{prefix}-{number}" for number in range(10 * count + 50)], POOL)
    chosen = [name for name, order in orders.items() if order[0] == home][:count]
    assert len(chosen) == count
    return {name: orders[name] for name in chosen}
