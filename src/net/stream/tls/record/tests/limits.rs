//! ReadRecords across the limits of a key, and of sequence numbers.

use rustls::{CipherSuite, Error, Side, SupportedCipherSuite};

use super::{Pair, all, read_as_peer, suite};
use crate::net::{buffer::Buffer, stream::tls::record::TlsWrite};

/// The limit of AES-GCM (RFC 8446, section 5.5, rounded down).
const LIMIT: u64 = 1 << 24;

/// Goes on as if this many records had been sent and received with the first keys.
fn at(pair: &mut Pair, sent: u64, received: u64) {
    pair.ours.sender.next = sent;
    pair.ours.receiver.next = received;
}

#[test]
fn are_those_of_rustls() {
    for (suite, side) in all() {
        let pair = Pair::new(suite, side);
        let name = suite.suite().as_str().unwrap();
        let limit = if name.contains("CHACHA20") { u64::MAX } else { LIMIT };
        assert_eq!(pair.ours.key_limit.records(), limit);
        let is_12 = matches!(suite, SupportedCipherSuite::Tls12(_));
        let key_use = pair.ours.key_use();
        assert_eq!(
            key_use.map(|key_use| key_use.limit),
            (is_12 && limit == LIMIT).then_some(LIMIT)
        );
    }
}

/// In TLS 1.3 each key protects as many records as it may, the update included, and the peer
/// follows: a million records, a key for every thousand of them.
#[test]
fn a_million_records() {
    const KEY_LIMIT: u64 = 1000;
    let mut pair = Pair::new(suite(CipherSuite::TLS13_AES_128_GCM_SHA256), Side::Server);
    pair.ours.key_limit = KEY_LIMIT.into();
    pair.ours.max_plaintext_bytes = 1;
    let data = [7; 10_000];
    let mut updates = 0;
    for _ in 0..100 {
        let mut outbox = Buffer::default();
        let before = pair.ours.sender.next();
        pair.ours.write(TlsWrite::Data(&data), &mut outbox).unwrap();
        assert!(pair.ours.sender.next() < KEY_LIMIT);
        let records = 10_000 + before - pair.ours.sender.next();
        updates += records.div_ceil(KEY_LIMIT);
        assert_eq!(read_as_peer(&mut pair.peer, outbox.bytes()).unwrap().len(), data.len());
    }
    assert!((1000..=1010).contains(&updates), "{updates}");
    pair.receive(b"with the peer's latest key");
}

/// In TLS 1.2 nothing is sent past the limit but the end.
#[test]
fn of_tls_12() {
    let name = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    for side in [Side::Server, Side::Client] {
        let mut pair = Pair::new(suite(name), side);
        at(&mut pair, LIMIT - 2, 5);
        assert_eq!(pair.ours.key_use().unwrap().sent, LIMIT - 2);
        let mut outbox = Buffer::default();
        let three_records = vec![0; 3 << 14];
        let refused = pair.ours.write(TlsWrite::Data(&three_records), &mut outbox);
        assert_eq!((refused, outbox.bytes().len()), (Err(Error::EncryptError), 0));
        pair.ours.write(TlsWrite::Data(&three_records[..2 << 14]), &mut outbox).unwrap();
        let refused = pair.ours.write(TlsWrite::Data(b"x"), &mut outbox);
        assert_eq!(refused, Err(Error::EncryptError));
        let before = outbox.bytes().len();
        pair.ours.write(TlsWrite::CloseNotify, &mut outbox).unwrap();
        assert!(outbox.bytes().len() > before);
    }
}

/// Sequence numbers never wrap: that would use a nonce again.
#[test]
fn of_sequence_numbers() {
    for (suite, side) in all() {
        let mut pair = Pair::new(suite, side);
        pair.ours.key_limit = u64::MAX.into();
        at(&mut pair, u64::MAX - 2, u64::MAX - 1);
        let mut outbox = Buffer::default();
        pair.ours.write(TlsWrite::Data(b"the last"), &mut outbox).unwrap();
        let written = pair.ours.write(TlsWrite::Data(b"one more"), &mut outbox);
        // TLS 1.3 has replaced its key.
        assert_eq!(written.is_ok(), suite.tls13().is_some(), "{suite:?}: {written:?}");
        let mut wire = pair.encrypted(b"x");
        assert_eq!(super::read(&mut pair.ours, &mut wire), Err(Error::DecryptError));
    }
}
