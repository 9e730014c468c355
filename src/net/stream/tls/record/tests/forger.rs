//! A peer that sends what no library would, to us and to rustls.

use std::rc::Rc;

use rustls::{Connection, ConnectionTrafficSecrets, Error, Side, SupportedCipherSuite};

use super::{Shaken, read, shake_hands};
use crate::net::{
    aead_keys::AeadKeys,
    buffer::Buffer,
    stream::tls::{
        record::{header::Header, protection::Protection, traffic_key::TrafficKey},
        records::ReadRecords,
    },
};

/// The peer's keys, with which it encrypts records that no library would.
pub(super) struct Forger {
    protection: Protection,
    sender: TrafficKey,
    receiver: TrafficKey,
    keys: AeadKeys,
}

impl Forger {
    pub(super) fn new(protection: Protection, peer: Connection) -> Self {
        let secrets = peer.dangerous_extract_secrets().unwrap();
        let key = |(next, secrets): (u64, ConnectionTrafficSecrets)| {
            let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
            else {
                panic!("another cipher")
            };
            let iv = iv.as_ref().try_into().unwrap();
            TrafficKey::fixed(protection.cipher, key.as_ref(), iv, next).unwrap()
        };
        let (sender, receiver) = (key(secrets.tx), key(secrets.rx));
        Self { protection, sender, receiver, keys: AeadKeys::default() }
    }

    pub(super) fn record(&mut self, content_type: u8, plaintext: &[u8]) -> Vec<u8> {
        let mut record = vec![0; self.protection.record_bytes(plaintext.len())];
        let content = (content_type, plaintext);
        self.sender.seal(self.protection, &self.keys, content, &mut record).unwrap();
        record
    }

    /// The content types and plaintexts of our records.
    fn open(&mut self, mut wire: Vec<u8>) -> Vec<(u8, Vec<u8>)> {
        let mut opened = Vec::new();
        while let Some(header) = Header::parse(&wire).unwrap() {
            let mut rest = wire.split_off(5 + header.payload_bytes);
            let payload = &mut wire[5..];
            let (content_type, plaintext) =
                self.receiver.open(self.protection, &self.keys, header, payload).unwrap();
            opened.push((content_type, plaintext.to_vec()));
            std::mem::swap(&mut wire, &mut rest);
        }
        opened
    }
}

/// What a record of the peer leads to: the plaintext, the error, and our records, decrypted.
pub(super) type Outcome = (Vec<u8>, Option<Error>, Vec<(u8, Vec<u8>)>);

fn outcome(records: &mut impl ReadRecords, forger: &mut Forger, mut wire: Vec<u8>) -> Outcome {
    let (mut plaintext, mut outbox) = (Vec::new(), Buffer::default());
    let error = records.read(&mut wire, &mut outbox, |data| plaintext.extend_from_slice(data));
    (plaintext, error.err(), forger.open(outbox.bytes().to_vec()))
}

/// Asserts that we do what rustls does.
pub(super) fn compare(
    suite: SupportedCipherSuite,
    side: Side,
    what: &str,
    forge: &dyn Fn(&mut Forger) -> Vec<u8>,
) -> Outcome {
    let shaken = shake_hands(suite, side);
    let mut ours = shaken.ours.into_records(Rc::new(AeadKeys::default())).unwrap();
    let protection = ours.protection;
    read(&mut ours, &mut shaken.rest.clone()).unwrap();
    let mut forger = Forger::new(protection, shaken.peer);
    let wire = forge(&mut forger);
    let by_us = outcome(&mut ours, &mut forger, wire);

    let Shaken { mut ours, mut rest, peer } = shake_hands(suite, side);
    ours.read(&mut rest, &mut Buffer::default(), |_| {}).unwrap();
    let mut forger = Forger::new(protection, peer);
    let wire = forge(&mut forger);
    let by_rustls = outcome(&mut *ours, &mut forger, wire);
    assert_eq!(by_us, by_rustls, "{what} with {suite:?} as {side:?}");
    by_us
}
