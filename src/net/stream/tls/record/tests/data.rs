//! Data in both directions, and its end.

use std::rc::Rc;

use rustls::Error;

use super::{Pair, all, read_as_peer};
use crate::net::{
    aead_keys::{AeadKeys, MAX_KEYS},
    buffer::Buffer,
    stream::tls::{
        record::{RecordLayer, TlsWrite},
        records::ReadRecords,
    },
};

#[test]
fn data_of_all_lengths() {
    for (suite, side) in all() {
        let mut pair = Pair::new(suite, side);
        for len in [0, 1, 2, 15, 16, 17, 1000, 16_383, 16_384, 16_385, 50_000] {
            let data: Vec<u8> = (0..len).map(|_| fastrand::u8(..)).collect();
            pair.send(&data);
            pair.receive(&data);
        }
    }
}

#[test]
fn every_split_of_records() {
    for (suite, side) in all() {
        let mut pair = Pair::new(suite, side);
        let mut wire = pair.encrypted(b"first");
        wire.extend(pair.encrypted(b"second"));
        let state = pair.ours.state();
        for split in 0..=wire.len() {
            let state = clone(&state);
            let mut ours = RecordLayer::from_state(state, Rc::new(AeadKeys::default())).unwrap();
            let (mut received, mut outbox) = (Vec::new(), Buffer::default());
            let mut wire = wire.clone();
            let give = |data: &[u8]| received.extend_from_slice(data);
            let (front, _) = wire.split_at_mut(split);
            let consumed = ours.read(front, &mut outbox, give).unwrap();
            let give = |data: &[u8]| received.extend_from_slice(data);
            ours.read(&mut wire[consumed..], &mut outbox, give).unwrap();
            assert_eq!(received, b"firstsecond", "{suite:?} {split}");
        }
    }
}

fn clone<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

/// The peer is sent what rustls would send: close_notify, once, and nothing after an error.
#[test]
fn ends() {
    for (suite, side) in all() {
        let mut pair = Pair::new(suite, side);
        let mut outbox = Buffer::default();
        pair.ours.write(TlsWrite::Data(b"last"), &mut outbox).unwrap();
        pair.ours.write(TlsWrite::CloseNotify, &mut outbox).unwrap();
        let len = outbox.bytes().len();
        pair.ours.write(TlsWrite::CloseNotify, &mut outbox).unwrap();
        assert!(pair.ours.write(TlsWrite::Data(b"more"), &mut outbox).is_err());
        assert_eq!(outbox.bytes().len(), len);
        assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()).unwrap(), b"last");
        pair.receive(b"the peer has not ended");

        let mut pair = Pair::new(suite, side);
        let (mut outbox, mut wire) = (Buffer::default(), pair.encrypted(b"x"));
        *wire.last_mut().unwrap() ^= 1;
        let error = pair.ours.read(&mut wire, &mut outbox, |_| panic!("plaintext"));
        assert_eq!(error, Err(Error::DecryptError));
        let alert = Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
        assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()), Err(alert));
        let mut outbox = Buffer::default();
        assert!(pair.ours.write(TlsWrite::Data(b"more"), &mut outbox).is_err());
        assert!(pair.ours.write(TlsWrite::CloseNotify, &mut outbox).is_err());
        assert!(outbox.is_empty());
    }
}

/// Connections take turns with more keys than are kept expanded, and some end meanwhile: no byte is
/// encrypted with the key of another.
#[test]
fn more_busy_connections_than_expanded_keys() {
    let keys = Rc::new(AeadKeys::default());
    let many = std::iter::repeat_with(all).flatten().take(MAX_KEYS);
    let mut pairs: Vec<_> = many.map(|(suite, side)| Pair::new(suite, side)).collect();
    for pair in &mut pairs {
        pair.ours = RecordLayer::from_state(pair.ours.state(), keys.clone()).unwrap();
    }
    for round in 0..4000 {
        let at = fastrand::usize(..pairs.len());
        let data: Vec<u8> = (0..fastrand::usize(..200)).map(|_| fastrand::u8(..)).collect();
        if fastrand::bool() {
            pairs[at].send(&data);
        } else {
            pairs[at].receive(&data);
        }
        assert!(keys.len() <= MAX_KEYS);
        if round % 40 == 0 {
            pairs.swap_remove(at);
        }
    }
    drop(pairs);
    assert_eq!(keys.len(), 0);
}
