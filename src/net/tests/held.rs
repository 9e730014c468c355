//! The limits on what is kept of a peer's incomplete messages.

use std::{io::ErrorKind, sync::Arc, task::Poll};

use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
};

use super::{Layers, MAY_HOLD, Pair, TLS, peer::Tls};
use crate::net::{reactor::Reactor, stream::TlsError};

/// A peer that builds its own records.
const RAW: Layers = Layers { tls: false, websocket: false };

/// Our fatal alert decode_error, in plaintext (RFC 8446, section 6).
const DECODE_ERROR: &[u8] = b"\x15\x03\x03\x00\x02\x02\x32";

/// A client's keys, for records that no library would produce.
struct Keys {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Keys {
    fn of(client: ClientConnection) -> Self {
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("not TLS 1.3")
        };
        let (number, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another cipher")
        };
        let mut keys = Self { encrypter: suite.aead_alg.encrypter(key, iv), number: 0 };
        // The provider requires all sequence numbers from 0 on.
        (0..number).for_each(|_| drop(keys.record(ContentType::Alert, b"")));
        keys
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(payload);
        let plain = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload };
        self.number += 1;
        self.encrypter.encrypt(plain, self.number - 1).unwrap().encode()
    }
}

/// A hello of 60,000 bytes, each in a record of six bytes.
#[test]
fn a_hello_in_records_of_one_byte() {
    let hello = [&[1, 0, 0xEA, 0x60][..], &vec![3; 60_000]].concat();
    let records: Vec<u8> = hello.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    for (len, is_too_much) in [(MAY_HOLD, false), (MAY_HOLD + 6, true)] {
        let reactor = Reactor::new().unwrap();
        let tls = Tls::new(false);
        let mut pair = Pair::new(&reactor, RAW, &tls);
        pair.peer.write(&records[..len]);
        if is_too_much {
            let refused = pair.shake_hands(TLS, &tls);
            assert!(matches!(refused, Err(TlsError::TooManyPartialBytes(MAY_HOLD))), "{refused:?}");
            pair.peer.pump();
            assert_eq!(pair.peer.received(), DECODE_ERROR);
        } else {
            pair.peer.end();
            let left = pair.shake_hands(TLS, &tls);
            assert!(matches!(left, Err(TlsError::Closed)), "{left:?}");
        }
    }
}

/// Small records, as sent by clients with little memory, however reads split them.
#[test]
fn a_handshake_in_small_records() {
    for is_12 in [false, true] {
        let mut tls = Tls::new(is_12);
        let mut client = (*tls.client).clone();
        client.max_fragment_size = Some(32);
        tls.client = Arc::new(client);
        for per_pump in [1, 5, 6, 31, 33, 100, 1000] {
            let reactor = Reactor::new().unwrap();
            let mut pair = Pair::new(&reactor, TLS, &tls);
            pair.peer.per_pump = per_pump;
            pair.shake_hands(TLS, &tls).unwrap();
            pair.peer.per_pump = usize::MAX;
            pair.check(b"as any other");
        }
    }
}

/// A message of 60,000 bytes, after the handshake, in records of one byte.
#[test]
fn a_key_update_in_records_of_one_byte() {
    for per_read in [1, 7, 300] {
        let reactor = Reactor::new().unwrap();
        let tls = Tls::new(false);
        let mut pair = Pair::open(&reactor, TLS, &tls);
        pair.check(b"before");
        let mut keys = Keys::of(pair.peer.tls.take().unwrap());
        let message = [&[24, 0, 0xEA, 0x60][..], &vec![0; 60_000]].concat();
        let mut records = message.iter().map(|byte| keys.record(ContentType::Handshake, &[*byte]));
        let mut taken = 0;
        let error = loop {
            let wire: Vec<u8> = records.by_ref().take(per_read).flatten().collect();
            assert!(!wire.is_empty(), "all of it was taken");
            taken += wire.len();
            pair.peer.write(&wire);
            if let Poll::Ready(Err(error)) = pair.recv(16 * 1024) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("more than 36874 bytes"), "{error}");
        let record = 23;
        assert!(taken > 36_874 && taken <= 36_874 + per_read * record, "{taken} bytes");
    }
}
