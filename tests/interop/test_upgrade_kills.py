"""Either process of an upgrade is killed, at moments over the whole hand-over.

The other one goes on and serves new clients, sessions that have moved stay, and no session is in
both. UPGRADE_KILLS sets how many upgrades are disturbed.
"""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from itertools import cycle

import json
import pytest
from harness.process import wait_for
from harness.proxy import binary
from harness.upgraded import Fleet, descriptors, is_running, memory, upgraded_proxy

SESSIONS = 300
ROUNDS = int(os.environ.get("UPGRADE_KILLS", 16))

STARTED = re.compile(r"upgrade: started .*pid=(\d+)")
ACCEPTS = re.compile(r"upgraded: the new process accepts")
MOVED = re.compile(r"upgraded: all sessions that can move have moved")

SLACK = 8 << 20


def since(proxy, known, pattern):
    return pattern.search(proxy.process.text(), known)


def sessions_of(proxy):
    """The client IDs of all sessions that the API lists."""
    found, cursor = [], ""
    while True:
        page = json.loads(proxy.get(f"/api/v1/sessions?limit=1000{cursor}"))
        found += [one["client_id"] for one in page["sessions"]]
        if "next" not in page:
            return found
        cursor = f"&cursor={page['next']}"


class Hand:
    """An upgrade that is going on."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.old = proxy.pid
        self.known = len(proxy.process.text())
        command = [binary(), "ctl", "-c", proxy.file, "upgrade", "--json"]
        self.ctl = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.new = int(wait_for("a new process", lambda: since(proxy, self.known, STARTED))[1])

    def wait(self, pattern):
        wait_for(pattern.pattern, lambda: since(self.proxy, self.known, pattern))

    def text(self):
        return self.proxy.process.text()[self.known:]


def disturbed(proxy, fleet, victim, anchor, delay):
    """Kills one process at this time; returns how many sessions ended, and who has survived."""
    before = fleet.ask("round")
    hand = Hand(proxy)
    hand.wait(anchor)
    time.sleep(delay)
    killed, other = (hand.old, hand.new) if victim == "old" else (hand.new, hand.old)
    phase = next(
        (name for name, it in (("moved", MOVED), ("moving", ACCEPTS)) if since(proxy, hand.known, it)),
        "starting",
    )
    os.kill(killed, signal.SIGKILL)
    wait_for("its end", lambda: not is_running(killed))
    said, _ = hand.ctl.communicate(timeout=30)
    if victim == "old" and phase == "starting":
        time.sleep(0.3)
    elif victim == "new":
        time.sleep(0.3)
    survives = is_running(other)
    if survives:
        proxy.pid = other
    else:
        proxy.start()
        proxy.pid = proxy.process.child.pid
    deadline = time.monotonic() + 20
    while True:
        state = fleet.ask("round") if not before else fleet.ask("state")
        if state["connected"] == SESSIONS or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    fleet.ask("round")
    while (state := fleet.ask("state"))["served"] < SESSIONS and time.monotonic() < deadline:
        time.sleep(0.05)
    ended = state["ended"] - before["ended"]
    print(f"{victim} {phase} +{delay * 1e3:.0f} ms: ctl {hand.ctl.returncode}, survives {survives}, ended {ended}, connected {state['connected']}, served {state['served']}", flush=True)
    listed = sessions_of(proxy)
    active = sum(proxy.metrics("connections_active", "listener").values())
    if not (len(listed) == len(set(listed)) == SESSIONS == state["connected"] == state["served"] == active):
        print("   BAD", len(listed), len(set(listed)), active, said, hand.text(), flush=True)
        if os.environ.get("HOLD"):
            time.sleep(1000)
        raise AssertionError("bad")
    return phase, survives, ended


@pytest.fixture
def upgraded(folder):
    with upgraded_proxy(folder, SESSIONS) as proxy:
        yield proxy


def test_kills(upgraded):
    proxy = upgraded
    fleet = Fleet(SESSIONS, proxy, "--reconnect", "--pause-ms", "200")
    try:
        proxy.wait_for_entries(SESSIONS, event="connect")
        hand = Hand(proxy)
        began = time.monotonic()
        hand.wait(ACCEPTS)
        accepts = time.monotonic() - began
        hand.wait(MOVED)
        moved = time.monotonic() - began - accepts
        wait_for("end", lambda: not is_running(hand.old))
        hand.ctl.communicate()
        proxy.pid = hand.new
        print("accepts", accepts, "moved", moved, "exit", time.monotonic() - began - accepts - moved, flush=True)
        used = descriptors(proxy.pid), memory(proxy.pid)
        victims = cycle(("old", "new"))
        for n in range(ROUNDS):
            victim = next(victims)
            if n % 4 < 1:
                disturbed(proxy, fleet, victim, STARTED, accepts * (n / ROUNDS))
            else:
                disturbed(proxy, fleet, victim, ACCEPTS, moved * (n / ROUNDS))
        proxy.pid = proxy.pid
        previous = proxy.upgrade(60)
        print(previous, used, descriptors(proxy.pid), memory(proxy.pid))
        outcome = fleet.ask("end")
        print(outcome)
    finally:
        fleet.child.kill()
    for key in ("lost", "doubled", "out_of_order", "damaged"):
        assert outcome[key] == 0, outcome
    lines = proxy.entries()
    of_each = Counter((line["session"], line["event"]) for line in lines)
    print(of_each.most_common(3), Counter(line["event"] for line in lines))
    assert set(of_each.values()) == {1}
    text = proxy.process.text()
    assert text.count("panicked") == 0
