//! Pings on idle WebSockets.

use super::{PING_SECONDS, Pair, TLS, WS, WSS, peer::Tls};
use crate::net::{Ping, reactor::Reactor};

/// After so many seconds without data, and as many after the last Ping.
#[test]
fn after_silence() {
    for layers in [WS, WSS] {
        let reactor = Reactor::new().unwrap();
        let mut pair = Pair::open(&reactor, layers, &Tls::new(false));
        pair.check(b"data");
        for second in 100..=100 + 2 * PING_SECONDS {
            let is_due = (second - 100).is_multiple_of(PING_SECONDS) && second > 100;
            let wanted = if is_due { Ping::Sent } else { Ping::NotDue };
            assert_eq!(pair.ours.ping_if_quiet(second), wanted, "{second}");
        }
        pair.peer.pump();
        assert_eq!(pair.peer.pings(), 2);
        pair.check(b"behind");
        // Data postpones the next one.
        assert_eq!(pair.ours.ping_if_quiet(200), Ping::NotDue);
        assert_eq!(pair.ours.ping_if_quiet(199 + PING_SECONDS), Ping::NotDue);
        assert_eq!(pair.ours.ping_if_quiet(200 + PING_SECONDS), Ping::Sent);
        // A client that has closed is sent none.
        pair.ours.shutdown();
        assert_eq!(pair.ours.ping_if_quiet(1000), Ping::NotDue);
    }
    let reactor = Reactor::new().unwrap();
    let pair = Pair::open(&reactor, TLS, &Tls::new(false));
    let is_not_due = |second| pair.ours.ping_if_quiet(second) == Ping::NotDue;
    assert!((0..100).all(is_not_due), "a Ping without WebSocket");
}

/// Two in a row without an answer are the last; whatever the client sends is an answer.
#[test]
fn unanswered() {
    for layers in [WS, WSS] {
        let reactor = Reactor::new().unwrap();
        let mut pair = Pair::open(&reactor, layers, &Tls::new(false));
        pair.check(b"data");
        let mut second = 100;
        assert_eq!(pair.ours.ping_if_quiet(second), Ping::NotDue);
        let mut next = |pair: &Pair| {
            second += PING_SECONDS;
            pair.ours.ping_if_quiet(second)
        };
        assert_eq!([next(&pair), next(&pair)], [Ping::Sent; 2]);
        assert_eq!([next(&pair), next(&pair)], [Ping::Unanswered; 2]);
        let late = pair.peer.encoded(b"late");
        pair.peer.write(&late);
        // Also before it is read.
        reactor.wait(std::time::Duration::ZERO).unwrap();
        assert_eq!([next(&pair), next(&pair)], [Ping::Sent; 2]);
    }
}

/// A frame of which only a part has been sent is whole before a Ping, however little of it fits.
#[test]
fn between_frames() {
    for layers in [WS, WSS] {
        for len in [1, 125, 126, 1000, 16 * 1024, 20_000] {
            let reactor = Reactor::new().unwrap();
            let mut pair = Pair::open(&reactor, layers, &Tls::new(false));
            let packet: Vec<u8> = (0..len).map(|n| n as u8).collect();
            // Until the socket is full.
            while pair.send(&packet).is_ready() {}
            for n in 1..100 {
                pair.ours.ping_if_quiet(n * PING_SECONDS);
            }
            for _ in 0..1000 {
                pair.peer.pump();
                reactor.wait(std::time::Duration::ZERO).unwrap();
                if pair.ours.try_flush().is_ready() {
                    break;
                }
            }
            pair.check(b"behind");
            // Those for which there was no room were not kept.
            assert!(pair.peer.pings() <= 1, "{len}: {}", pair.peer.pings());
        }
    }
}
