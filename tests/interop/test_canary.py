"""A canary by hand: clients move to a new cluster share by share, and back, under traffic."""

import json
import subprocess

from harness.brokers import Mosquitto
from harness.clients import USE_ANOTHER_SERVER
from harness.cluster import ADMISSION, POOL
from harness.fleet import Fleet
from harness.process import LOOPBACK
from harness.proxy import Proxy, binary

CLIENTS = 300
RATE = 200
NEW = "new-cluster"
RULE = {"name": "canary", "when": {"percent": 0}, "pool": NEW}


class Canary:
    """Two clusters of two Mosquittos, and a rule that sends nobody to the second."""

    def __init__(self, folder):
        self.folder = folder
        names = {POOL: ("old-1", "old-2"), NEW: ("new-1", "new-2")}
        self.pools = {
            pool: [Mosquitto(folder, name) for name in brokers] for pool, brokers in names.items()
        }
        keys = {"admission": ADMISSION, "rebalance": {"rate": RATE}}
        self.proxy = Proxy(folder, self.pools, listener={"rules": [RULE]}, **keys)

    def stop(self):
        try:
            self.proxy.stop()
        finally:
            self.proxy.kill()
            for broker in sum(self.pools.values(), []):
                broker.stop()

    def ctl(self, *arguments):
        command = [binary(), "ctl", "--admin", f"http://{LOOPBACK}:{self.proxy.admin}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def share(self, ids, percent):
        """The IDs that `mqtt-lb route` finds in the share of a file with this percentage."""
        config = json.loads(self.proxy.file.read_text())
        for listener in config["listeners"]:
            listener["rules"] = [RULE | {"when": {"percent": percent}}]
        file = self.folder / f"share-{percent}.yaml"
        file.write_text(json.dumps(config))
        command = [binary(), "route", "--json", "-c", file, "--listener", POOL, "--", *ids]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        routed = map(json.loads, printed.splitlines())
        return {one["client_id"] for one in routed if one["pool"] == NEW}


def test_from_nothing_to_all_and_back(tmp_path, say):
    canary = Canary(tmp_path)
    try:
        ids = [f"device-{number}" for number in range(CLIENTS)]
        moves = dict.fromkeys(ids, 0)
        there = set()
        with Fleet(canary.proxy.port, ids) as fleet:
            for percent in (5, 20.5, 60, 100, 0):
                fleet.wait_for_messages(1)
                said = canary.ctl("rule", "canary", "--listener", POOL, "--percent", str(percent))
                assert f"{percent} %" in said
                now = canary.share(ids, percent)
                assert percent == 0 or there <= now
                for name in there ^ now:
                    moves[name] += 1
                there = now
                fleet.wait_until(
                    f"the clients of {percent} %",
                    lambda member: len(member.accepted) == moves[member.client_id] + 1,
                )
                hits = canary.proxy.metrics("rules_total", "listener", "rule")
                assert hits[(POOL, "canary")] == sum(
                    (count + 1) // 2 for count in moves.values()
                )
            fleet.wait_for_messages(1)
            fleet.settle()
        assert there == set() and set(moves.values()) == {2}
        for member in fleet:
            # It was ended twice, by the proxy, and by nobody else; messages of the sessions that
            # stayed are all there.
            assert (len(member.lost), member.refused) == (2, [])
            reasons = {(reason, by_packet) for _, reason, by_packet in member.lost}
            assert member.version != 5 or reasons == {(USE_ANOTHER_SERVER, True)}
            assert not member.missing()
        for name in ids:
            logged = canary.proxy.wait_for_entries(3, event="connect", client_id=name)
            assert [one["pool"] for one in logged] == [POOL, NEW, POOL]
            assert [one.get("rule") for one in logged] == [None, "canary", None]
            # The old cluster still has the session that it had.
            assert [one["session_present"] for one in logged] == [False, False, True]
            assert logged[0]["upstream"] == logged[2]["upstream"]
        ends = canary.proxy.wait_for_entries(2 * CLIENTS, event="disconnect", end_by="proxy")
        assert {one["end_cause"] for one in ends} == {"rebalance"}
        sent = sum(member.sent for member in fleet)
        say(f"{CLIENTS} clients went to the new cluster and back under {sent} messages")
    finally:
        canary.stop()
