//! A TLS connection whose key has encrypted nearly as many records as it may.

use std::time::Duration;

use super::{Pair, TLS, WS, WSS, peer::Tls};
use crate::net::reactor::Reactor;

/// The limit of AES-GCM in TLS 1.2, and how many records are left when the connection has to end.
const LIMIT: u64 = 1 << 24;
const RESERVE: u64 = 1 << 18;

#[test]
fn of_tls_1_2() {
    let (reactor, tls) = (Reactor::new().unwrap(), Tls::new(true));
    for layers in [TLS, WSS] {
        let mut pair = Pair::open(&reactor, layers, &tls);
        assert!(!pair.ours.is_near_key_limit());
        // Each packet starts a record; a packet longer than a record takes several.
        for (bytes, records) in [(1, 1), (1 << 14, 1), ((1 << 14) + 1, 2), (4 << 14, 4)] {
            pair.ours.tls().unwrap().set_records(LIMIT - RESERVE - records);
            assert!(!pair.ours.is_near_key_limit());
            assert!(
                pair.ours.tls().unwrap().try_send(pair.ours.socket(), &vec![0; bytes]).is_ready()
            );
            assert!(!pair.ours.is_near_key_limit(), "{bytes} bytes");
            while pair.ours.try_flush().is_pending() {
                pair.peer.pump();
                pair.reactor.wait(Duration::ZERO).unwrap();
            }
            assert!(pair.ours.tls().unwrap().try_send(pair.ours.socket(), b"x").is_ready());
            assert!(pair.ours.is_near_key_limit(), "{bytes} bytes");
        }
    }
}

#[test]
fn of_others() {
    let (reactor, tls) = (Reactor::new().unwrap(), Tls::new(false));
    let pair = Pair::open(&reactor, TLS, &tls);
    pair.ours.tls().unwrap().set_records(u64::MAX - 1);
    // TLS 1.3 updates its keys.
    assert!(!pair.ours.is_near_key_limit());
    assert!(!Pair::open(&reactor, WS, &tls).ours.is_near_key_limit());
}
