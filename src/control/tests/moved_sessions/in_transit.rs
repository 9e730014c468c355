//! Sessions that move in the middle of something.

use std::{net::Shutdown, time::Duration};

use super::two_proxies::{
    CONNACK_V4, CONNACK_V5, CONNECT_V4, CONNECT_V5, TwoProxies, pattern, send_all,
};
use crate::control::tests::world::long_packet;

/// A packet under way is completed, and the proxy still knows where it ends: it tells the client of
/// its end at the next boundary only.
#[test]
fn a_partial_packet() {
    let packet = long_packet(20_000);
    for at in [1, 2, 3, 10, 19_999] {
        let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
        world.client.send(&packet[..at]);
        world.broker.send(&packet[..at]);
        world.broker.expect(&packet[..at]);
        world.client.expect(&packet[..at]);
        world.move_session();
        world.client.send(&packet[at..]);
        world.broker.expect(&packet[at..]);
        world.broker.send(&packet[at..]);
        world.client.expect(&packet[at..]);
        world.exchange();
        world.new.drain(Duration::ZERO);
        // Server shutting down (5.0 section 3.14).
        assert_eq!(world.client.rest(), [0xE0, 1, 0x8B], "at {at}");
    }
}

/// Within a packet, no DISCONNECT can be sent.
#[test]
fn a_packet_without_its_end() {
    let mut world = TwoProxies::new(CONNECT_V5, CONNACK_V5);
    let packet = long_packet(20_000);
    world.broker.send(&packet[..10]);
    world.client.expect(&packet[..10]);
    world.move_session();
    world.new.drain(Duration::ZERO);
    assert_eq!(world.client.rest(), b"");
}

/// A side has ended: the other one still sends, and its end is that of the session.
#[test]
fn a_half_closed_session() {
    let mut world = TwoProxies::new(CONNECT_V4, CONNACK_V4);
    world.client.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(world.broker.rest(), b"");
    world.move_session();
    world.broker.send(b"\xD0\0");
    world.client.expect(b"\xD0\0");
    drop(world.broker);
    assert_eq!(world.client.rest(), b"");
    let end = world.new.end();
    assert_eq!((&end["end_by"], &end["end_cause"]), (&"client".into(), &"closed".into()));
}

/// Neither side reads: data is in the sockets, in pipes and in memory, in both directions. All of it
/// arrives, in order.
#[test]
fn slow_readers() {
    for len in [300_000, 24 << 20] {
        let mut world = TwoProxies::new(CONNECT_V4, CONNACK_V4);
        let (to_broker, to_client) = (pattern(len), pattern(len + 1));
        let sending = [
            send_all(world.client.socket(), to_broker.clone()),
            send_all(world.broker.socket(), to_client.clone()),
        ];
        // As much as fits is on its way.
        world.old.wait_for_sweep("in", 100_000);
        world.old.wait_for_sweep("out", 100_000);
        world.move_session();
        world.client.expect(&to_client[..len / 3]);
        world.broker.expect(&to_broker[..len / 2]);
        world.move_back();
        world.client.expect(&to_client[len / 3..]);
        world.broker.expect(&to_broker[len / 2..]);
        for sending in sending {
            sending.join().unwrap();
        }
        world.exchange();
        drop(world.client);
        assert_eq!(world.broker.rest(), b"");
        drop(world.broker);
        let end = world.old.end();
        let bytes = (CONNECT_V4.len() + len + 21, CONNACK_V4.len() + len + 1 + 21);
        assert_eq!((&end["bytes_in"], &end["bytes_out"]), (&bytes.0.into(), &bytes.1.into()));
    }
}

/// A stream that never pauses moves as well, again and again.
#[test]
fn a_bulk_stream() {
    let mut world = TwoProxies::new(CONNECT_V4, CONNACK_V4);
    let bytes = pattern(64 << 20);
    let sending = send_all(world.client.socket(), bytes.clone());
    let mut rest = &bytes[..];
    for round in 0.. {
        let here;
        (here, rest) = rest.split_at(rest.len().min(3 << 20));
        world.broker.expect(here);
        if rest.is_empty() {
            break;
        }
        if round % 2 == 0 { world.move_session() } else { world.move_back() }
    }
    sending.join().unwrap();
    world.exchange();
}
