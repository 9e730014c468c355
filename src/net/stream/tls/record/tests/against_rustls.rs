//! What rustls would read and answer, byte by byte and record by record.

use std::rc::Rc;

use rustls::{CipherSuite, Side, SupportedCipherSuite};

use super::{
    forger::{Forger, compare},
    shake_hands, suite,
};
use crate::net::stream::tls::record::{
    header::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE},
    protection::Protection,
};

/// One suite of each construction.
const CONSTRUCTIONS: [CipherSuite; 4] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

fn constructions() -> impl Iterator<Item = (SupportedCipherSuite, Side)> + Clone {
    let names = CONSTRUCTIONS.into_iter();
    names.flat_map(|name| [(suite(name), Side::Server), (suite(name), Side::Client)])
}

/// Every byte of a record, with one bit changed, and with all.
#[test]
fn every_corruption_of_a_record() {
    for (suite, side) in constructions() {
        let len = Forger::new(protection(suite, side), shake_hands(suite, side).peer)
            .record(APPLICATION_DATA, b"x")
            .len();
        for at in 0..len {
            for mask in [1, 0xFF] {
                let outcome = compare(suite, side, &format!("byte {at} ^ {mask}"), &|forger| {
                    let mut record = forger.record(APPLICATION_DATA, b"x");
                    record[at] ^= mask;
                    record
                });
                // TLS 1.3 ignores the content type and the version in the header.
                assert!(outcome.0.is_empty() || at < 3, "byte {at} ^ {mask}: {outcome:?}");
            }
        }
    }
}

fn protection(suite: SupportedCipherSuite, side: Side) -> Protection {
    shake_hands(suite, side).ours.into_records(Rc::default()).unwrap().protection
}

const EMPTY: &[u8] = &[];

/// user_canceled, a warning.
const CANCELED: &[u8] = &[1, 90];

/// Messages that rustls refuses to parse in TLS 1.2, where it refuses all of them anyway.
const MALFORMED_IN_12: [&str; 4] =
    ["an empty key update", "a long key update", "a ticket", "a split ticket"];

/// What a peer sends: the content types and the plaintexts of its records.
type Case<'a> = (&'a str, &'a [(u8, &'a [u8])]);

/// Plaintexts that are protected as they should be, and may be wrong.
#[test]
fn contents() {
    let long = vec![7; (1 << 14) + 1];
    compare_all(&[
        ("data", &[(APPLICATION_DATA, b"one"), (APPLICATION_DATA, b"two")]),
        ("too much data", &[(APPLICATION_DATA, &long)]),
        ("32 empty records", &[(APPLICATION_DATA, EMPTY); 32]),
        ("33 empty records", &[(APPLICATION_DATA, EMPTY); 33]),
        ("close_notify", &[(ALERT, &[1, 0]), (APPLICATION_DATA, b"after")]),
        ("a fatal close_notify", &[(ALERT, &[2, 0])]),
        ("user_canceled", &[(ALERT, &[1, 90]), (APPLICATION_DATA, b"after")]),
        ("4 times user_canceled", &[(ALERT, CANCELED); 4]),
        ("5 times user_canceled", &[(ALERT, CANCELED); 5]),
        ("a warning", &[(ALERT, &[1, 100])]),
        ("a fatal alert", &[(ALERT, &[2, 40])]),
        ("a level of 3", &[(ALERT, &[3, 40])]),
        ("half an alert", &[(ALERT, &[2])]),
        ("an empty alert", &[(ALERT, &[])]),
        ("an alert and a half", &[(ALERT, &[2, 40, 2])]),
        ("change_cipher_spec", &[(CHANGE_CIPHER_SPEC, &[1])]),
        ("heartbeat", &[(24, &[1])]),
        ("type 0", &[(0, &[1])]),
        ("padding", &[(0, &[])]),
        ("type 0 after data", &[(0, &[b'x', APPLICATION_DATA, 0, 0])]),
    ]);
}

#[test]
fn handshake_messages() {
    let key_update = [24, 0, 0, 1, 0];
    let ticket =
        [&[4, 0, 0, 18, 0, 0, 0, 9][..], &[9; 4], &[1, 7, 0, 4], b"name", &[0; 2]].concat();
    compare_all(&[
        ("an empty handshake record", &[(HANDSHAKE, b""), (APPLICATION_DATA, b"x")]),
        ("half a header, then data", &[(HANDSHAKE, &[24, 0]), (APPLICATION_DATA, b"x")]),
        ("half a message, then data", &[(HANDSHAKE, &[24, 0, 0, 1]), (APPLICATION_DATA, b"x")]),
        ("half a message, then an alert", &[(HANDSHAKE, &[24, 0, 0, 1]), (ALERT, &[1, 0])]),
        ("an empty key update", &[(HANDSHAKE, &[24, 0, 0, 0])]),
        ("a long key update", &[(HANDSHAKE, &[24, 0, 0, 2, 0, 0])]),
        ("key update 2", &[(HANDSHAKE, &[24, 0, 0, 1, 2])]),
        ("two key updates", &[(HANDSHAKE, &[key_update, key_update].concat())]),
        ("a key update and a header", &[(HANDSHAKE, &[24, 0, 0, 1, 0, 24])]),
        ("a key update", &[(HANDSHAKE, &key_update)]),
        ("a split key update", &[(HANDSHAKE, &key_update[..2]), (HANDSHAKE, &key_update[2..])]),
        ("a ticket", &[(HANDSHAKE, &ticket), (APPLICATION_DATA, b"after")]),
        ("a split ticket", &[(HANDSHAKE, &ticket[..9]), (HANDSHAKE, &ticket[9..])]),
        ("a hello request", &[(HANDSHAKE, &[0; 4]), (APPLICATION_DATA, b"after")]),
        ("two hello requests", &[(HANDSHAKE, &[0; 8])]),
        ("a finished message", &[(HANDSHAKE, &[20, 0, 0, 1, 1])]),
        ("an unknown message", &[(HANDSHAKE, &[99, 0, 0, 1, 1])]),
        ("a message of 64 KiB", &[(HANDSHAKE, &[24, 1, 0, 0, 0])]),
        ("a message of less", &[(HANDSHAKE, &[24, 0, 0xFF, 0xFF, 0])]),
        ("a message behind one of 64 KiB", &[(HANDSHAKE, &[99, 0, 0, 0, 24, 1, 0, 0, 0])]),
    ]);
}

fn compare_all(cases: &[Case<'_>]) {
    for (suite, side) in constructions() {
        for (what, records) in cases {
            let is_13 = suite.tls13().is_some();
            // A record of TLS 1.2 tells its type, and that it is empty, to all.
            let is_visible = |&(content_type, text): &(u8, &[u8])| {
                !(20..=24).contains(&content_type) || (text.is_empty() && content_type != 23)
            };
            let is_malformed = MALFORMED_IN_12.contains(what);
            if !is_13 && (is_malformed || records.iter().any(is_visible)) {
                continue;
            }
            compare(suite, side, what, &|forger| {
                records.iter().flat_map(|(typ, text)| forger.record(*typ, text)).collect()
            });
        }
    }
}

/// What is wrong with records outside of their protection.
#[test]
fn headers() {
    let cases: &[(&str, &[u8])] = &[
        ("type 0", &[0]),
        ("type 25", &[25, 3, 3, 0, 1, 0]),
        ("a handshake record", &[22, 3, 3, 0, 5, 24, 0, 0, 1, 0]),
        ("version 2", &[23, 2, 3]),
        ("a major version alone", &[23, 9]),
        ("version 3.0", &[23, 3, 0, 0, 1, 0]),
        ("nothing", &[23, 3, 3, 0, 0]),
        ("an empty alert", &[21, 3, 3, 0, 0]),
        ("an empty heartbeat", &[24, 3, 3, 0, 0]),
        ("a plaintext alert", &[21, 3, 3, 0, 2, 2, 40]),
        ("less than a tag", &[23, 3, 3, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        ("a length of 2^14 + 2048", &[23, 3, 3, 0x48, 0]),
        ("one byte less", &[23, 3, 3, 0x47, 0xFF]),
        ("change_cipher_spec", &[20, 3, 3, 0, 1, 1]),
        ("change_cipher_spec 2", &[20, 3, 3, 0, 1, 2]),
        ("a long change_cipher_spec", &[20, 3, 3, 0, 2, 1, 1]),
    ];
    for (suite, side) in constructions() {
        for (what, wire) in cases {
            compare(suite, side, what, &|_| wire.to_vec());
        }
    }
}

/// change_cipher_spec between the parts of a message is read as if it were protected.
#[test]
fn change_cipher_spec_in_a_message() {
    for (suite, side) in constructions() {
        compare(suite, side, "change_cipher_spec in a message", &|forger| {
            let mut wire = forger.record(HANDSHAKE, &[24, 0]);
            wire.extend([20, 3, 3, 0, 1, 1]);
            wire
        });
    }
}

/// A record with as much padding as fits, and with a byte too much.
#[test]
fn padded_records() {
    for (suite, side) in constructions().filter(|(suite, _)| suite.tls13().is_some()) {
        for padding in [1, 1000, (1 << 14) - 1, 1 << 14] {
            let outcome = compare(suite, side, &format!("{padding} bytes"), &|forger| {
                let mut inner = vec![b'x', APPLICATION_DATA];
                inner.resize(1 + padding, 0);
                // The last of the padding is what the forger takes for the content type.
                forger.record(0, &inner)
            });
            assert_eq!(outcome.1.is_some(), padding == 1 << 14);
        }
    }
}
