"""Either process of an upgrade is killed, at moments over the whole hand-over.

The other one goes on and serves all clients, sessions that have moved stay, and no session is in
both. UPGRADE_KILLS sets how many upgrades are disturbed.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter

import pytest
from harness.process import wait_for
from harness.proxy import binary
from harness.upgraded import Fleet, descriptors, is_running, memory, upgraded_proxy

SESSIONS = 150
# Seconds until all clients have connected again on a busy machine, with TLS in a debug build.
PATIENCE = 90
KILLS = int(os.environ.get("UPGRADE_KILLS", 12))

STARTED = re.compile(r"upgrade: started .*pid=(\d+)")
# It has the listening sockets. Before that it cannot go on alone.
LISTENS = re.compile(r"listening listener=wss")
ACCEPTS = re.compile(r"upgraded: the new process accepts")
MOVED = re.compile(r"upgraded: all sessions that can move have moved")

# User memory that the last process may have more than the first, in bytes.
SLACK = 4 << 20


@pytest.fixture
def upgraded(tmp_path):
    with upgraded_proxy(tmp_path, SESSIONS) as proxy:
        yield proxy


class Upgrade:
    """An upgrade that is going on."""

    def __init__(self, proxy):
        self.proxy, self.old = proxy, proxy.pid
        self.known = len(proxy.process.text())
        command = [binary(), "ctl", "-c", proxy.file, "upgrade", "--json"]
        self.ctl = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.new = int(self.wait(STARTED)[1])
        self.began = time.monotonic()

    def found(self, pattern):
        return pattern.search(self.proxy.process.text(), self.known)

    def wait(self, pattern):
        return wait_for(pattern.pattern, lambda: self.found(pattern))

    def kill(self, victim):
        """Kills one of the two processes; the other one serves from then on."""
        killed, self.proxy.pid = (self.old, self.new) if victim == "old" else (self.new, self.old)
        accepted = bool(self.found(ACCEPTS))
        os.kill(killed, signal.SIGKILL)
        wait_for("its end", lambda: not is_running(killed))
        self.ctl.communicate(timeout=30)
        return accepted

    def end(self):
        """Waits until the old process has ended."""
        self.ctl.communicate(timeout=30)
        wait_for("the end of the old process", lambda: not is_running(self.old))
        self.proxy.pid = self.new


def durations(proxy):
    """Upgrades without a fault: the seconds until the new process accepts, and until all has moved."""
    upgrade = Upgrade(proxy)
    upgrade.wait(ACCEPTS)
    accepts = time.monotonic() - upgrade.began
    upgrade.wait(MOVED)
    moves = time.monotonic() - upgrade.began - accepts
    upgrade.end()
    return accepts, moves


def client_ids(proxy):
    """Of all sessions that the API lists."""
    page = json.loads(proxy.get("/api/v1/sessions?limit=1000"))
    assert "next" not in page
    return [one["client_id"] for one in page["sessions"]]


def check_service(proxy, fleet):
    """Every client has one session, which exchanges messages; the number of those that have ended."""
    wait_for("all clients", lambda: fleet.ask("state")["connected"] == SESSIONS, PATIENCE)
    fleet.ask("round")
    wait_for("messages of all", lambda: fleet.ask("state")["served"] == SESSIONS, PATIENCE)
    assert is_running(proxy.pid), proxy.process.text()
    listed = wait_for("their sessions", lambda: len(ids := client_ids(proxy)) == SESSIONS and ids)
    assert len(set(listed)) == SESSIONS
    assert sum(proxy.metrics("connections_active", "listener").values()) == SESSIONS
    return fleet.ask("state")["ended"]


def disturb(proxy, fleet, victim, anchor, delay):
    """Kills a process this long after the line in its log."""
    before = fleet.ask("state")["ended"]
    upgrade = Upgrade(proxy)
    upgrade.wait(anchor)
    time.sleep(delay)
    accepted = upgrade.kill(victim)
    ended = check_service(proxy, fleet) - before
    print(f"{victim} killed {delay * 1e3:.0f} ms after {anchor.pattern}: {ended} ended")
    if victim == "new" and not accepted and upgrade.ctl.returncode != 0:
        assert ended == 0, "the old process has not carried on as before"
    if victim == "old":
        moved = proxy.last_upgrade()["previous"]["moved"]
        assert ended == SESSIONS - moved


def test_either_process_is_killed(upgraded):
    proxy = upgraded
    fleet = Fleet(SESSIONS, proxy, "--reconnect", "--pause-ms", "200")
    try:
        proxy.wait_for_entries(SESSIONS, event="connect")
        accepts, moves = durations(proxy)
        used = descriptors(proxy.pid), memory(proxy.pid)
        for number in range(KILLS):
            victim, part = ("new", "old")[number % 2], number / KILLS
            # Later than that the process that is killed may be the only one left.
            anchor, delay = ACCEPTS, moves * 0.8 * part
            if number % 6 < 2:
                anchor, delay = (STARTED, accepts * part) if victim == "new" else (LISTENS, 0)
            disturb(proxy, fleet, victim, anchor, delay)
        # The next upgrade is not affected.
        assert proxy.upgrade(60)["moved"] == SESSIONS
        assert descriptors(proxy.pid) <= used[0] + 8
        assert memory(proxy.pid) <= used[1] + SLACK
        outcome = fleet.ask("end")
    finally:
        fleet.child.kill()
    counted = {key: value for key, value in outcome.items() if value}
    for key in ("messages", "pings", "served", "faults"):
        counted.pop(key)
    ended = counted.pop("ended")
    assert counted == {"sessions": SESSIONS, "finished": SESSIONS}
    # A line that a killed process has not written is lost, none is doubled.
    kept = proxy.wait_for_entries(SESSIONS, event="disconnect", client_disconnect=0)
    of_each = Counter((line["session"], line["event"]) for line in proxy.entries())
    assert set(of_each.values()) == {1}, of_each.most_common(5)
    begun = {session for session, event in of_each if event == "connect"}
    assert {line["session"] for line in kept} <= begun and len(begun) <= SESSIONS + ended
    proxy.stop_last()
    assert "panicked" not in proxy.process.text()
