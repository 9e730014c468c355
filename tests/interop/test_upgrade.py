"""The program is upgraded under sessions of every kind, and none of them notices.

UPGRADE_SESSIONS, UPGRADES and UPGRADE_PAUSE set how many sessions and upgrades there are, and the
seconds of traffic between two upgrades; FLEET names another build of the clients. tests/bench/upgrade.py
runs it for ten minutes.
"""

import os
import time
from collections import Counter

import pytest
from harness.upgraded import Fleet, descriptors, memory, upgraded_proxy

SESSIONS = int(os.environ.get("UPGRADE_SESSIONS", 700))
UPGRADES = int(os.environ.get("UPGRADES", 5))
# Seconds that an upgrade may take on a busy machine, until the old process has ended.
PATIENCE = 60 + SESSIONS / 50
PAUSE = float(os.environ.get("UPGRADE_PAUSE", 2))

# User memory that each process may have more than the one before, in bytes: allocators do not fill
# every gap.
SLACK = 4 << 20


@pytest.fixture
def upgraded(tmp_path):
    with upgraded_proxy(tmp_path, SESSIONS) as proxy:
        yield proxy


def test_no_session_notices(upgraded):
    proxy = upgraded
    fleet = Fleet(SESSIONS, proxy)
    try:
        proxy.wait_for_entries(SESSIONS, event="connect")
        used = descriptors(proxy.pid), memory(proxy.pid)
        quiet = [fleet.ask("gap"), time.sleep(2), fleet.ask("gap")][-1]
        print(f"quiet: {quiet}")
        for number in range(UPGRADES):
            began = time.monotonic()
            previous = proxy.upgrade(PATIENCE)
            took = time.monotonic() - began
            print(f"upgrade {number + 1}, {took:.2f} s: {fleet.ask('gap')}")
            assert (previous["moved"], previous["stayed"]) == (SESSIONS, {})
            # Round trips through the new process, so that each upgrade meets traffic.
            time.sleep(PAUSE)
        assert descriptors(proxy.pid) <= used[0] + 8
        assert memory(proxy.pid) <= used[1] + SLACK
        active = sum(proxy.metrics("connections_active", "listener").values())
        total = sum(proxy.metrics("connections_total", "listener").values())
        assert (active, total) == (SESSIONS, SESSIONS)
        outcome = fleet.ask("end")
    finally:
        fleet.child.kill()
    counted = {key: value for key, value in outcome.items() if value}
    assert counted.pop("messages") > SESSIONS
    counted.pop("pings")
    counted.pop("served")
    assert counted == {"sessions": SESSIONS, "finished": SESSIONS}

    proxy.wait_for_entries(SESSIONS, event="disconnect")
    lines = proxy.entries()
    of_each = Counter((line["client_id"], line["event"]) for line in lines)
    assert len(of_each) == len(lines) == 2 * SESSIONS
    # A session keeps its ID, and all that was known about it.
    begun = {line["session"]: line for line in lines if line["event"] == "connect"}
    for end in proxy.entries(event="disconnect"):
        # Its packets were followed through every process; broker and client may both close first.
        assert end["client_disconnect"] == 0 and end["end_cause"] in ("closed", "reset"), end
        connect = begun[end["session"]]
        kept = {key: value for key, value in connect.items() if key not in ("time", "event")}
        assert kept == {key: end.get(key) for key in kept}
    proxy.stop_last()
    text = proxy.process.text()
    assert (text.count("panicked"), text.count(" ERROR ")) == (0, 0), text
