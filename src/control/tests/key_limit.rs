//! Sessions over TLS 1.2 whose keys are nearly used up: they end between two packets, with a cause
//! of their own, before rustls ends them. The suite is rustls' AES-128-GCM with a lower limit.

use std::{
    io::Write,
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use super::world::{
    DISCONNECT, EARLIEST, HEAVY, LATEST, LIMIT, OTHER_BROKER, PACKET, RUN_UP, Side, Version, World,
    long_packet,
};

/// Calls `check` with each case, all at the same time.
fn check_all<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let check = &check;
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

/// In either direction, over either connection, for either version: not before its time, and then
/// after a whole packet, with a DISCONNECT in 5.0, and an orderly end. Then the client comes back.
#[test]
fn an_idle_session() {
    let cases = [
        (Side::Client, Version::V5, Side::Client),
        (Side::Client, Version::V5, Side::Broker),
        (Side::Client, Version::V4, Side::Client),
        (Side::Broker, Version::V5, Side::Client),
        (Side::Broker, Version::V5, Side::Broker),
        (Side::Broker, Version::V4, Side::Broker),
    ];
    check_all(cases, |(side, version, to)| {
        let case = format!("{side:?}, {version:?}, to {to:?}");
        let mut world = World::new(side, version);
        world.run_up(to);
        assert_eq!(world.proxy.ends().len(), 0, "{case}");
        world.send(to, LATEST - EARLIEST + RUN_UP);
        assert_eq!(world.client.rest(), version.disconnect(), "{case}");
        assert_eq!(world.broker.rest(), b"", "{case}");
        let end = world.check_end();
        let detail = end["detail"].as_str().unwrap();
        let peer = if side == Side::Client { "client" } else { "broker" };
        let direction = if to == side { "to" } else { "by" };
        let what = format!(
            " of the 1024 records that one AES-GCM key may encrypt in TLS 1.2 were sent \
             {direction} the {peer}; "
        );
        assert!(detail.contains(&what), "{case}: {detail}");
        world.reconnect();
        world.send(Side::Client, 3);
        world.send(Side::Broker, 3);
    });
}

/// A packet that is under way is completed, in either direction, and none follows it.
#[test]
fn a_session_within_a_packet() {
    let cases = [
        (Side::Client, Version::V5, Side::Client),
        (Side::Client, Version::V5, Side::Broker),
        (Side::Client, Version::V4, Side::Client),
        (Side::Client, Version::V4, Side::Broker),
        (Side::Broker, Version::V5, Side::Client),
        (Side::Broker, Version::V4, Side::Client),
    ];
    check_all(cases, |(side, version, to)| {
        let case = format!("{side:?}, {version:?}, to {to:?}");
        let mut world = World::new(side, version);
        let rest = world.stop_within_packet(to);
        // The relay waits for the rest.
        world.pass(to, &rest[..100]);
        world.sweep();
        assert_eq!(world.proxy.ends().len(), 0, "{case}");
        let rest = &rest[100..];
        // A packet behind it is not passed on.
        world.peer_that_sends_to(to).send(&[rest, PACKET].concat());
        world.peer(to).expect(rest);
        assert_eq!(world.client.rest(), version.disconnect(), "{case}");
        if to == Side::Broker {
            assert_eq!(world.broker.rest(), b"", "{case}");
        }
        world.check_end();
    });
}

/// The session ends once both sides have a whole packet.
#[test]
fn a_session_within_two_packets() {
    let mut world = World::new(Side::Client, Version::V5);
    let long = long_packet(20_000);
    world.pass(Side::Broker, &long[..1]);
    let rest = world.stop_within_packet(Side::Client);
    world.pass(Side::Broker, &long[1..5000]);
    world.pass(Side::Client, &rest);
    world.pass(Side::Broker, &long[5000..6000]);
    world.sweep();
    assert_eq!(world.proxy.ends().len(), 0);
    world.client.send(&[&long[6000..], PACKET].concat());
    assert_eq!(world.broker.rest(), &long[6000..]);
    assert_eq!(world.client.rest(), DISCONNECT);
    world.check_end();
}

/// A packet that its sender does not complete is waited for, but not for long.
#[test]
fn a_session_whose_packet_is_not_completed() {
    let mut world = World::new(Side::Client, Version::V5);
    world.stop_within_packet(Side::Broker);
    let since = Instant::now();
    // The broker's stream is between two packets.
    assert_eq!(world.client.rest(), DISCONNECT);
    assert!(since.elapsed() > Duration::from_secs(25), "{:?}", since.elapsed());
    world.check_end();
}

/// Inside WebSocket the DISCONNECT is a message, and a Close follows it.
#[test]
fn a_session_over_websocket() {
    let mut world = World::with(Side::Client, Version::V5, LIMIT, ", websocket: {}");
    world.run_up(Side::Client);
    world.send(Side::Client, LATEST - EARLIEST + RUN_UP);
    let close = [0x88, 2, 0x03, 0xE8];
    let message = [&[0x82, DISCONNECT.len() as u8], DISCONNECT].concat();
    assert_eq!(world.client.rest(), [&message[..], &close].concat());
    world.check_end();
}

/// A client that does not read is sent everything that was on its way, up to the end of a packet.
#[test]
fn a_session_with_a_backlog() {
    let mut world = World::new(Side::Client, Version::V5);
    let packet = long_packet(1 << 20);
    // More than the sockets hold, so that the broker is held up; less than the key allows.
    let mut sender = world.broker.socket();
    let sent = packet.repeat(12);
    let sending = thread::spawn(move || {
        // The rest is not taken when the session ends.
        let _ = sender.write_all(&sent);
    });
    world.send(Side::Broker, LATEST + RUN_UP);
    world.sweep();
    let received = world.client.rest();
    let (packets, told) = received.split_at(received.len() - DISCONNECT.len());
    assert_eq!(told, DISCONNECT);
    assert!(!packets.is_empty() && packets.chunks(packet.len()).all(|one| one == packet));
    sending.join().unwrap();
    world.check_end();
}

/// A packet that takes more records than the key has left: the session ends within it, long before
/// rustls would end it.
#[test]
fn a_packet_without_end() {
    for (side, to) in [(Side::Client, Side::Client), (Side::Broker, Side::Broker)] {
        let mut world = World::new(side, Version::V5);
        // A PUBLISH of 256 MiB, the longest that there is.
        let mut header = vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't', 0];
        header.resize(1 << 14, b'x');
        world.pass(to, &header);
        let slice = vec![b'x'; 1 << 14];
        let mut sender = world.peer_that_sends_to(to).socket();
        let sending = thread::spawn(move || while sender.write_all(&slice).is_ok() {});
        let received = world.peer(to).rest();
        assert!(received.iter().all(|byte| *byte == b'x'));
        // No more than the limit of full records.
        assert!(received.len() < (LIMIT as usize) << 14, "{} bytes", received.len());
        sending.join().unwrap();
        world.check_end();
    }
}

/// A drain does not wait for the end of a packet, and each session ends once.
#[test]
fn a_session_in_a_drain() {
    let mut world = World::new(Side::Client, Version::V5);
    world.stop_within_packet(Side::Client);
    assert_eq!(world.proxy.ends().len(), 0);
    world.proxy.drain(Duration::ZERO);
    assert_eq!(world.client.rest(), b"");
    assert_eq!(world.proxy.end()["end_cause"], "drain");
    assert_eq!(world.proxy.ends().len(), 1);
}

/// A session that reaches the limit during a drain ends for the limit, and the drain ends none twice.
#[test]
fn a_session_that_reaches_the_limit_in_a_drain() {
    let mut world = World::new(Side::Client, Version::V5);
    world.run_up(Side::Client);
    world.proxy.drain(Duration::from_mins(10));
    world.send(Side::Client, LATEST - EARLIEST + RUN_UP);
    assert_eq!(world.client.rest(), DISCONNECT);
    assert_eq!(world.broker.rest(), b"");
    world.check_end();
    assert_eq!(world.proxy.ends().len(), 1);
}

/// A session that waits for the end of a packet can be moved to another broker meanwhile: it ends
/// once, and does not count as ended for the limit. One that has ended for the limit is not moved.
#[test]
fn a_session_in_a_rebalance() {
    let mut world = World::rebalancing(Side::Client, Version::V5);
    world.run_up(Side::Client);
    world.send(Side::Client, LATEST - EARLIEST + RUN_UP);
    assert_eq!(world.client.rest(), DISCONNECT);
    world.check_end();

    world.reconnect();
    world.stop_within_packet(Side::Client);
    world.proxy.set_weight("b", NonZeroU32::MIN);
    world.proxy.set_weight(OTHER_BROKER, HEAVY);
    // No DISCONNECT within a packet.
    assert_eq!(world.client.rest(), b"");
    let ends = world.proxy.wait_ends(2);
    assert_eq!((&ends[1]["end_cause"], &ends[1]["upstream"]), (&"rebalance".into(), &"b".into()));
    world.reconnect();
    world.send(Side::Client, 3);
    assert_eq!(world.proxy.ends().len(), 2);
    assert_eq!(world.proxy.metric(r#"key_limits_total{connection="client"}"#), 1);
}
