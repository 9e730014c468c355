"""10,000 clients come back at once to a broker that can take 500 a second."""

import asyncio
import re
from pathlib import Path

from harness.proxy import Proxy
from harness.storm import ACCEPTED, Broker, allow_descriptors, storm

CLIENTS = 10_000
# A second, smaller storm shows whether the first one's memory is used again.
AGAIN = 1000
RATE, BURST = 500, 1000
# Nearly three times as long as it must take: what is tested is the rate, and not the machine.
MAX_WAIT = 50
# User memory of a client that waits, in bytes: its CONNECT, its task and its place in the queue.
MOST_A_CLIENT = 4096
# What the second storm may add, in bytes: allocators do not fill every gap.
SLACK = 1 << 20

ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)


class Watched:
    """What the proxy looks like from outside, a few times a second."""

    def __init__(self, proxy):
        self.proxy, self.deepest = proxy, 0
        self.before = self.most = self.memory()

    def memory(self):
        """User memory, in bytes."""
        status = Path(f"/proc/{self.proxy.process.child.pid}/status").read_text()
        return int(ANONYMOUS.search(status)[1]) * 1024

    def waiting(self):
        return self.proxy.metrics("admission_waiting", "upstream")["broker",]

    async def watch(self):
        while True:
            self.deepest = max(self.deepest, await asyncio.to_thread(self.waiting))
            self.most = max(self.most, self.memory())
            await asyncio.sleep(0.2)


async def two_storms(watched):
    """When they began, and the answers."""
    watching = asyncio.create_task(watched.watch())
    began = asyncio.get_running_loop().time()
    port = watched.proxy.port
    answers = await storm(port, [f"device-{number}" for number in range(CLIENTS)])
    watching.cancel()
    answers += await storm(port, [f"again-{number}" for number in range(AGAIN)])
    return began, answers


async def weather(folder):
    broker = Broker("broker")
    await broker.start()
    admission = {"rate": RATE, "burst": BURST, "max_wait": f"{MAX_WAIT}s"}
    # In this thread, as a child ends with the thread that started it.
    proxy = Proxy(folder, {"mqtt": [broker]}, "storm", admission=admission)
    try:
        watched = Watched(proxy)
        return broker, watched, *await two_storms(watched)
    except BaseException:
        proxy.kill()
        raise


def test_all_get_in_at_the_rate(tmp_path, say):
    allow_descriptors(2 * CLIENTS)
    broker, watched, began, answers = asyncio.run(weather(tmp_path))
    proxy = watched.proxy
    try:
        # None was refused, and none had to come twice.
        assert answers == [ACCEPTED] * (CLIENTS + AGAIN)
        assert len(broker.times) == CLIENTS + AGAIN
        for number, at in enumerate(broker.times, 1):
            assert number <= BURST + RATE * (at - began) + 1

        connects = proxy.wait_for_entries(CLIENTS + AGAIN, event="connect")
        assert {one["tries"] for one in connects} == {1}
        queued = [one["queue_ms"] for one in connects if "queue_ms" in one]
        assert queued and max(queued) < MAX_WAIT * 1000
        ends = proxy.wait_for_entries(CLIENTS + AGAIN, event="disconnect")
        assert {(one["end_by"], one["end_cause"]) for one in ends} == {("client", "closed")}

        assert watched.deepest > 0
        assert watched.waiting() == 0
        waits = proxy.metrics("admission_wait_seconds_count", "upstream")
        assert waits == {("broker",): CLIENTS + AGAIN}
        assert proxy.metrics("rejects_total") == {}

        assert watched.most - watched.before < MOST_A_CLIENT * CLIENTS
        after = watched.memory()
        assert after < watched.most + SLACK
        took = broker.times[CLIENTS - 1] - began
        say(
            f"storm of {CLIENTS} clients at {RATE}/s with a burst of {BURST}: all in after "
            f"{took:.1f} s (at best {(CLIENTS - BURST) / RATE:.1f} s), the longest wait "
            f"{max(queued) / 1000:.1f} s, the queue up to {watched.deepest:.0f}; user memory "
            f"{watched.before >> 10} KiB before, {watched.most >> 10} KiB at most, "
            f"{after >> 10} KiB after a second storm of {AGAIN}"
        )
        proxy.stop()
    finally:
        proxy.kill()
