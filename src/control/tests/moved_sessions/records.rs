//! The log and the metrics of sessions that have moved.

use std::collections::BTreeMap;

use serde_json::Value;

use super::two_proxies::{CONNACK_V4, CONNACK_V5, CONNECT_V4, CONNECT_V5, TwoProxies, active};
use crate::control::tests::running::{RunningProxy, wait_until};

/// The fields of a `connect` line whose values the `disconnect` line of the session has as well.
fn lasting(line: &Value) -> BTreeMap<&String, &Value> {
    let changing = ["time", "event"];
    line.as_object().unwrap().iter().filter(|(name, _)| !changing.contains(&&***name)).collect()
}

/// One `connect` line and one `disconnect` line, with everything that the session is; each process
/// counts what has happened in it.
#[test]
fn a_session_has_one_record() {
    for (connect, connack) in [(CONNECT_V4, CONNACK_V4), (CONNECT_V5, CONNACK_V5)] {
        let mut world = TwoProxies::new(connect, connack);
        world.exchange();
        world.move_session();
        world.exchange();
        world.move_back();
        world.exchange();
        world.move_session();
        let sessions = r#"upstream_sessions_active{pool="p",upstream="b"}"#;
        let gauge = |proxy: &RunningProxy| proxy.metric(sessions);
        assert_eq!((gauge(&world.old), gauge(&world.new)), (0, 1));
        world.client.send(&[0xE0, 0]);
        world.broker.expect(&[0xE0, 0]);
        drop(world.client);
        assert_eq!(world.broker.rest(), b"");
        drop(world.broker);

        let end = world.new.end();
        wait_until("the connect line", || !world.old.lines("connect").is_empty());
        let begin = world.old.lines("connect");
        assert_eq!((begin.len(), world.new.lines("connect").len()), (1, 0));
        for (name, value) in lasting(&begin[0]) {
            assert_eq!(&end[name], value, "{name}");
        }
        assert_eq!(world.old.ends(), Vec::<Value>::new());
        let (sent, received) = (connect.len() + 9 * 7 + 2, connack.len() + 9 * 7);
        assert_eq!((&end["bytes_in"], &end["bytes_out"]), (&sent.into(), &received.into()));
        assert_eq!((&end["end_by"], &end["end_cause"]), (&"client".into(), &"closed".into()));
        assert_eq!(end["client_disconnect"], 0);

        let count = |sample: &str| (world.old.metric(sample), world.new.metric(sample));
        assert_eq!((active(&world.old), active(&world.new)), (0, 0));
        assert_eq!(count(r#"connections_total{listener="l"}"#), (1, 0));
        let version = if connect == CONNECT_V4 { 4 } else { 5 };
        assert_eq!(
            count(&format!(r#"sessions_total{{listener="l",version="{version}"}}"#)),
            (1, 0)
        );
        let bytes = |direction: &str| {
            count(&format!(r#"bytes_total{{direction="{direction}",pool="p",upstream="b"}}"#))
        };
        let (by_old, by_new) = bytes("in");
        assert_eq!(by_old + by_new, sent as u64);
        let (by_old, by_new) = bytes("out");
        assert_eq!(by_old + by_new, received as u64);
        assert_eq!(by_new, 3 * 7);
    }
}
