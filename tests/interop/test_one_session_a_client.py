"""A client that has moved on while its old broker still held it is not online twice."""

import pytest
from harness.clients import Client, Watch
from harness.cluster import ids_at_home


@pytest.mark.parametrize("version", [3, 4, 5])
def test_the_older_session_ends(cluster, version):
    proxy = cluster.serve(connack_timeout="300ms", on_down="keep")
    home = cluster.brokers["broker-1"]
    ((name, order),) = ids_at_home(proxy, home.name, 1, "device").items()
    will = (f"will/{name}", "gone", 1)
    with Watch([home], will[0]) as watch:
        older = Client(proxy.port, name, version, will=will)
        older.subscribe(name, 1)
        home.freeze()
        assert not older.ended.is_set()
        with Client(proxy.port, name, version) as newer:
            assert older.ended.wait(30)
            end = proxy.entry(event="disconnect", client_id=name)
            assert (end["upstream"], end["end_by"]) == (home.name, "proxy")
            assert (end["end_cause"], end["end_phase"]) == ("taken_over", "relay")
            # "Session taken over", 5.0 section 3.14.2.1; 3.x has no word for it.
            if version == 5:
                assert older.disconnect_reason == 0x8E
            # It is the older one only, and the newer is well.
            newer.subscribe(name, 1)
            newer.publish(name, "here")
            assert newer.receive().payload == b"here"
            # The home learns of the end once it can.
            home.thaw()
            assert watch.receive()[1].payload == b"gone"
            assert not newer.ended.is_set()
    older.disconnect()
    connects = proxy.wait_for_entries(2, event="connect", client_id=name)
    assert [(one["upstream"], one["tries"]) for one in connects] == [(order[0], 1), (order[1], 2)]
    ends = proxy.wait_for_entries(2, event="disconnect", client_id=name)
    assert [one["end_cause"] for one in ends] == ["taken_over", "closed"]
