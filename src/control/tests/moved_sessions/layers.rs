//! Sessions over WebSocket and TLS.

use std::io::Write;

use rustls::{
    crypto::aws_lc_rs::default_provider,
    version::{TLS12, TLS13},
};

use super::two_proxies::{
    CONNACK_V4, CONNACK_V5, CONNECT_V4, CONNECT_V5, Layers, TwoProxies, pattern, send_all,
};
use crate::{
    config::Config,
    control::tests::{
        peers::Tls,
        world::{Side, use_tls},
    },
};

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A client's frame.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first_byte, 0x80 | payload.len() as u8].into_iter().chain(MASK).chain(masked).collect()
}

/// A message in fragments with a Ping and a Pong between them, cut at each byte.
#[test]
fn a_websocket_frame() {
    let payload = b"\x30\x10\0\x01t\0in fragments";
    assert_eq!(payload.len(), 18);
    let stream = [
        frame(0x02, &payload[..5]),
        frame(0x89, b"ping"),
        frame(0x00, &payload[5..7]),
        frame(0x8A, b"pong"),
        frame(0x80, &payload[7..]),
    ]
    .concat();
    let layers = Layers { websocket: true, ..Layers::default() };
    let mut world = TwoProxies::with(&layers, ", websocket: {}", |_| {}, CONNECT_V5, CONNACK_V5);
    for at in 1..stream.len() {
        world.client.socket().write_all(&stream[..at]).unwrap();
        // What has arrived of the payload is passed on before the session moves or after.
        world.move_session();
        world.client.socket().write_all(&stream[at..]).unwrap();
        world.broker.expect(payload);
        // The Pong precedes what follows.
        let pong = b"\x8A\x04ping";
        world.client.expect_raw(pong);
        world.exchange();
        world.move_back();
    }
}

/// A Close is answered after a move, and the broker sees the end.
#[test]
fn the_end_of_a_websocket() {
    let layers = Layers { websocket: true, ..Layers::default() };
    let mut world = TwoProxies::with(&layers, ", websocket: {}", |_| {}, CONNECT_V4, CONNACK_V4);
    world.move_session();
    world.client.socket().write_all(&frame(0x88, &[0x03, 0xE8])).unwrap();
    assert_eq!(world.broker.rest(), b"");
    drop(world.broker);
    assert_eq!(world.client.rest(), [0x88, 2, 0x03, 0xE8]);
    assert_eq!(world.new.end()["transport"], "ws");
}

/// TLS on both sides, of each version and suite: records that have arrived in part, records that
/// wait to be sent, and the order of their numbers.
#[test]
fn tls_records() {
    for version in [&TLS12, &TLS13] {
        for websocket in [false, true] {
            let tls =
                Tls::of_version(version, default_provider().into(), default_provider().into());
            let layers = Layers { client_tls: Some(&tls), broker_tls: Some(&tls), websocket };
            let adjust = |config: &mut Config| {
                use_tls(config, Side::Client, &tls);
                use_tls(config, Side::Broker, &tls);
            };
            let listener = if websocket { ", websocket: {}" } else { "" };
            let mut world = TwoProxies::with(&layers, listener, adjust, CONNECT_V5, CONNACK_V5);
            for _ in 0..5 {
                world.exchange();
                world.move_session();
                world.exchange();
                world.move_back();
            }
            drop(world.client);
            assert_eq!(world.broker.rest(), b"");
            drop(world.broker);
            let end = world.old.end();
            let begin = world.old.lines("connect").remove(0);
            for field in ["tls_version", "tls_cipher", "sni", "transport", "path"] {
                assert_eq!(end[field], begin[field], "{field}");
            }
        }
    }
}

/// More than the client's socket takes, over TLS.
#[test]
fn tls_to_a_slow_reader() {
    for version in [&TLS12, &TLS13] {
        let tls = Tls::of_version(version, default_provider().into(), default_provider().into());
        let layers = Layers { client_tls: Some(&tls), ..Layers::default() };
        let adjust = |config: &mut Config| use_tls(config, Side::Client, &tls);
        let mut world = TwoProxies::with(&layers, "", adjust, CONNECT_V4, CONNACK_V4);
        let bytes = pattern(24 << 20);
        let sending = send_all(world.broker.socket(), bytes.clone());
        world.old.wait_for_sweep("out", 100_000);
        world.move_session();
        world.client.expect(&bytes[..1 << 20]);
        world.move_back();
        world.client.expect(&bytes[1 << 20..]);
        sending.join().unwrap();
        world.exchange();
    }
}
