//! How much the keys of TLS 1.2 have encrypted, and that no key reaches its limit.

use std::{sync::Arc, task::Poll, time::Duration};

use rustls::{
    ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as CHACHA20,
            default_provider,
        },
    },
    version::TLS12,
};

use super::{Pair, TLS, WS, WSS, peer::Tls};
use crate::{
    net::{KeyUse, is_key_used_up, reactor::Reactor},
    tls::{TlsServer, limited_keys},
};

/// The limit of rustls for AES-GCM in TLS 1.2.
const LIMIT: u64 = 1 << 24;

fn key_use(pair: &Pair) -> KeyUse {
    pair.ours.key_use().unwrap()
}

fn send(pair: &mut Pair, bytes: usize) {
    assert!(matches!(pair.ours.try_send(&vec![0; bytes]), Poll::Ready(Ok(n)) if n == bytes));
    while pair.ours.try_flush().is_pending() {
        pair.peer.pump();
        pair.reactor.wait(Duration::ZERO).unwrap();
    }
    pair.peer.pump();
}

/// Every record counts once, in the direction that it has; the handshake has few with these keys.
#[test]
fn every_record_counts() {
    let (reactor, tls) = (Reactor::new().unwrap(), Tls::new(true));
    for layers in [TLS, WSS] {
        let mut pair = Pair::open(&reactor, layers, &tls);
        let start = key_use(&pair);
        assert!(start.sent < 10 && start.received < 10 && start.limit == LIMIT, "{start:?}");
        for (bytes, records) in [(1, 1), (1000, 1), (5 << 10, 1)] {
            let before = key_use(&pair).sent;
            send(&mut pair, bytes);
            assert_eq!(key_use(&pair).sent - before, records, "{bytes} bytes");
        }
        for n in 1..=7 {
            pair.peer_sends(b"packet", b"");
            assert!(pair.recv(64).is_ready());
            assert_eq!(key_use(&pair).received - start.received, n);
        }
        let KeyUse { sent, received, .. } = key_use(&pair);
        assert_eq!(key_use(&pair).records(), sent.max(received));
    }
}

/// Writes longer than a record take several, of the length that is configured.
#[test]
fn long_writes_count_by_record() {
    let (reactor, mut tls) = (Reactor::new().unwrap(), Tls::new(true));
    for (max_fragment_size, records) in [(None, 4), (Some(1024 + 5), 64)] {
        let mut server = ServerConfig::clone(tls.server.config_for(false));
        server.max_fragment_size = max_fragment_size;
        tls.server = TlsServer::with_one_config(server);
        let mut pair = Pair::open(&reactor, TLS, &tls);
        let before = key_use(&pair).sent;
        send(&mut pair, 4 << 14);
        assert_eq!(key_use(&pair).sent - before, records, "{max_fragment_size:?}");
    }
}

/// Only TLS 1.2 with AES-GCM has a limit.
#[test]
fn others_have_no_limit() {
    let reactor = Reactor::new().unwrap();
    assert_eq!(Pair::open(&reactor, TLS, &Tls::new(false)).ours.key_use(), None);
    assert_eq!(Pair::open(&reactor, WS, &Tls::new(true)).ours.key_use(), None);
    let chacha20 = CryptoProvider { cipher_suites: vec![CHACHA20], ..default_provider() };
    let tls = Tls::with(&Arc::new(chacha20), &[&TLS12]);
    assert_eq!(Pair::open(&reactor, TLS, &tls).ours.key_use(), None);
}

/// With the last records of a key, only the end of the connection is sent: the peer sees
/// close_notify, and no record is lost before it.
#[test]
fn a_key_is_never_used_up() {
    const LIMIT: u64 = 1024;
    let reactor = Reactor::new().unwrap();
    let tls = Tls::with(&limited_keys::provider(LIMIT), &[&TLS12]);
    for layers in [TLS, WSS] {
        let mut pair = Pair::open(&reactor, layers, &tls);
        let mut sent = 0;
        let error = loop {
            match pair.ours.try_send(b"x") {
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => break error,
                Poll::Pending => pair.reactor.wait(Duration::ZERO).unwrap(),
            }
            pair.peer.pump();
        };
        assert!(is_key_used_up(&error), "{error}");
        assert_eq!(key_use(&pair).sent, LIMIT - LIMIT / 64);
        pair.ours.send_close();
        pair.peer.pump();
        assert_eq!((pair.peer.received().len(), pair.peer.complaint.as_ref()), (sent, None));
        assert!(key_use(&pair).sent < LIMIT);
    }
}
