//! Connections that go on elsewhere, in the middle of everything.

use std::rc::Rc;

use rustls::{Connection, Error, SupportedCipherSuite};

use super::{Pair, all, read, read_as_peer, written};
use crate::net::{
    aead_keys::AeadKeys,
    buffer::Buffer,
    stream::tls::record::{RecordLayer, RecordState, TlsWrite, layer::Sending},
};

fn json(state: &RecordState) -> serde_json::Value {
    serde_json::to_value(state).unwrap()
}

/// Replaces our layer by one that has only its state.
fn move_on(pair: &mut Pair) {
    let state = pair.ours.state();
    let moved: RecordState = serde_json::from_value(json(&state)).unwrap();
    assert_eq!(moved, state);
    pair.ours = RecordLayer::from_state(moved, Rc::new(AeadKeys::default())).unwrap();
    assert_eq!(pair.ours.state(), state);
}

#[test]
fn the_peer_notices_nothing() {
    for (suite, side) in all() {
        let mut pair = Pair::new(suite, side);
        pair.ours.max_plaintext_bytes = 500;
        for n in 0..20 {
            move_on(&mut pair);
            pair.send(&vec![n; 1200]);
            move_on(&mut pair);
            pair.receive(&vec![n; 1200]);
        }
        assert_eq!(pair.ours.max_plaintext_bytes, 500);
    }
}

/// With a key update that has not been answered, and with a half of one.
#[test]
fn amid_key_updates() {
    for (suite, side) in all().filter(|(suite, _)| suite.tls13().is_some()) {
        let mut pair = Pair::new(suite, side);
        for _ in 0..3 {
            match &mut pair.peer {
                Connection::Client(peer) => peer.refresh_traffic_keys().unwrap(),
                Connection::Server(peer) => peer.refresh_traffic_keys().unwrap(),
            }
            let mut wire = written(&mut pair.peer);
            read(&mut pair.ours, &mut wire).unwrap();
            move_on(&mut pair);
            assert!(pair.ours.owes_key_update);
            pair.receive(b"by the new key");
            pair.send(b"after the answer");
            move_on(&mut pair);
            pair.send(b"by the new key");
        }
    }
}

#[test]
fn ends_move_too() {
    for (suite, side) in all() {
        let mut pair = Pair::new(suite, side);
        let mut outbox = Buffer::default();
        pair.ours.write(TlsWrite::CloseNotify, &mut outbox).unwrap();
        read_as_peer(&mut pair.peer, outbox.bytes()).unwrap();
        move_on(&mut pair);
        assert_eq!(pair.ours.sending, Sending::Closed);
        pair.receive(b"more");
        pair.peer.send_close_notify();
        let mut wire = written(&mut pair.peer);
        read(&mut pair.ours, &mut wire).unwrap();
        move_on(&mut pair);
        assert!(pair.ours.peer_has_closed);
    }
}

/// States that no layer has are refused, and no state makes one panic.
#[test]
fn wrong_states() {
    for (suite, side) in all() {
        let state = json(&Pair::new(suite, side).ours.state());
        let is_12 = matches!(suite, SupportedCipherSuite::Tls12(_));
        let restored = |state: serde_json::Value| {
            let state = serde_json::from_value(state).map_err(|error| error.to_string())?;
            let layer = RecordLayer::from_state(state, Rc::default());
            layer.map_err(|error: Error| error.to_string())
        };
        for (field, value) in [
            ("max_plaintext_bytes", 0.into()),
            ("max_plaintext_bytes", 16_385.into()),
            ("owes_key_update", is_12.into()),
            ("protection", serde_json::Value::Null),
        ] {
            let mut wrong = state.clone();
            wrong[field] = value;
            let is_refused = restored(wrong).is_err();
            assert_eq!(is_refused, field != "owes_key_update" || is_12, "{field}");
        }
        for len in [0, 1, 15, 16, 27, 29, 31, 33, 43, 45, 47, 49, 100] {
            for key in ["sender", "receiver"] {
                let mut wrong = state.clone();
                wrong[key]["secret"] = vec![1; len].into();
                assert!(restored(wrong).is_err(), "{len} bytes");
            }
        }
        for key in ["sender", "receiver"] {
            let mut last = state.clone();
            last[key]["next"] = u64::MAX.into();
            let mut layer = restored(last).ok().unwrap();
            let mut wire = vec![23, 3, 3, 0, 40];
            wire.extend([0; 40]);
            let mut outbox = Buffer::default();
            assert_eq!(read(&mut layer, &mut wire), Err(Error::DecryptError));
            assert!(layer.write(TlsWrite::Data(b"x"), &mut outbox).is_err());
        }
    }
}

/// Nothing secret is in the output of Debug.
#[test]
fn debug_output_has_no_secrets() {
    for (suite, side) in all() {
        let text = format!("{:?}", Pair::new(suite, side).ours.state());
        assert!(text.contains("secret bytes"), "{text}");
        assert!(!text.contains('['), "{text}");
    }
}
