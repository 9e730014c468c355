//! What an idle connection takes up.

use std::rc::Rc;

use rustls::{CipherSuite, Side};

use super::{Pair, suite};
use crate::net::{
    aead_keys::{AeadKeys, MAX_KEYS},
    stream::tls::record::RecordLayer,
};

#[test]
fn a_layer_is_small() {
    assert!(size_of::<RecordLayer>() <= 200, "{} bytes", size_of::<RecordLayer>());
}

/// A worker keeps the expanded keys of some connections, and all of them work.
#[test]
fn expanded_keys_are_bounded() {
    let keys = Rc::new(AeadKeys::default());
    let mut pairs: Vec<_> = (0..MAX_KEYS)
        .map(|_| Pair::new(suite(CipherSuite::TLS13_AES_128_GCM_SHA256), Side::Server))
        .collect();
    for pair in &mut pairs {
        let state = pair.ours.state();
        pair.ours = RecordLayer::from_state(state, keys.clone()).unwrap();
    }
    for _ in 0..3 {
        for pair in &mut pairs {
            pair.send(b"ping");
            pair.receive(b"pong");
        }
        assert_eq!(keys.len(), MAX_KEYS);
    }
    // Twice in a row from the same slot.
    pairs[0].send(b"ping");
    pairs[0].send(b"ping");
    drop(pairs);
    assert_eq!(keys.len(), 0);
}
