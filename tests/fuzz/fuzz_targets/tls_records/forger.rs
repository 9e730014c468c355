//! The peer's records, protected by code that has nothing in common with the proxy's.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk},
};
use rustls::ConnectionTrafficSecrets;

const TAG_BYTES: usize = 16;
const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;

/// The keys of a peer.
pub struct Forger {
    pub sender: Key,
    pub receiver: Key,
}

pub struct Key {
    key: LessSafeKey,
    iv: [u8; 12],
    next: u64,
    /// Of TLS 1.3.
    secret: Option<(hkdf::Algorithm, Vec<u8>)>,
    has_explicit_nonce: bool,
}

impl Key {
    pub fn new(next: u64, secrets: &ConnectionTrafficSecrets, secret: Option<Vec<u8>>) -> Self {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => panic!("another cipher"),
        };
        let hash = if algorithm == &AES_256_GCM { HKDF_SHA384 } else { HKDF_SHA256 };
        Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap()),
            iv: iv.as_ref().try_into().unwrap(),
            next,
            has_explicit_nonce: secret.is_none() && algorithm != &CHACHA20_POLY1305,
            secret: secret.map(|secret| (hash, secret)),
        }
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = self.iv;
        let number = u128::from(self.next).to_be_bytes();
        nonce.iter_mut().zip(&number[4..]).for_each(|(byte, other)| *byte ^= other);
        nonce
    }

    fn aad(&self, content_type: u8, text: usize) -> Vec<u8> {
        let mut aad = Vec::new();
        if self.secret.is_none() {
            aad.extend(self.next.to_be_bytes());
        }
        let len = if self.secret.is_none() { text } else { text + TAG_BYTES };
        aad.extend([content_type, 3, 3, (len >> 8) as u8, len as u8]);
        aad
    }

    /// The next key of TLS 1.3; `None` in TLS 1.2.
    fn update(&mut self) {
        let Some((hash, secret)) = self.secret.take() else { return };
        let secret = Prk::new_less_safe(hash, &secret);
        let next = expand(&secret, b"traffic upd", hash.len());
        let prk = Prk::new_less_safe(hash, &next);
        let algorithm = self.key.algorithm();
        let key = expand(&prk, b"key", algorithm.key_len());
        self.key = LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap());
        self.iv = expand(&prk, b"iv", 12).try_into().unwrap();
        (self.next, self.secret) = (0, Some((hash, next)));
    }
}

impl Forger {
    pub fn seal(&mut self, content_type: u8, text: &[u8]) -> Vec<u8> {
        let key = &mut self.sender;
        let nonce = key.nonce();
        let (mut text, mut outer_type) = (text.to_vec(), content_type);
        if key.secret.is_some() {
            (text, outer_type) = ([&text[..], &[content_type]].concat(), APPLICATION_DATA);
        }
        let aad = key.aad(outer_type, text.len());
        let explicit = if key.has_explicit_nonce { &nonce[4..] } else { &[] };
        let aead_nonce = Nonce::assume_unique_for_key(nonce);
        key.key.seal_in_place_append_tag(aead_nonce, Aad::from(&aad), &mut text).unwrap();
        key.next += 1;
        let len = explicit.len() + text.len();
        let header = [outer_type, 3, 3, (len >> 8) as u8, len as u8];
        [&header[..], explicit, &text].concat()
    }

    pub fn update_sender(&mut self) {
        self.sender.update();
    }

    /// The content types and plaintexts of what we receive, past the updates of its key.
    pub fn open_all(&mut self, mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let key = &mut self.receiver;
        let mut opened = Vec::new();
        while let [outer_type, 3, 3, high, low, rest @ ..] = wire {
            let (record, rest) = rest.split_at(usize::from(*high) << 8 | usize::from(*low));
            wire = rest;
            let mut nonce = key.nonce();
            let mut record = record.to_vec();
            if key.has_explicit_nonce {
                nonce[4..].copy_from_slice(&record[..8]);
                record.drain(..8);
            }
            let aad = key.aad(*outer_type, record.len() - TAG_BYTES);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let text = key.key.open_in_place(nonce, Aad::from(&aad), &mut record).unwrap();
            key.next += 1;
            let (content_type, text) = match text.split_last() {
                Some((last, text)) if key.secret.is_some() => (*last, text.to_vec()),
                _ => (*outer_type, text.to_vec()),
            };
            if key.secret.is_some() && content_type == HANDSHAKE {
                key.update();
            }
            opened.push((content_type, text));
        }
        assert!(wire.is_empty());
        opened
    }
}

/// HKDF-Expand-Label (RFC 8446, section 7.1).
fn expand(secret: &Prk, label: &[u8], len: usize) -> Vec<u8> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let info = [&[0, len as u8, label.len() as u8 + 6][..], b"tls13 ", label, &[0]];
    let mut output = vec![0; len];
    secret.expand(&info, Length(len)).unwrap().fill(&mut output).unwrap();
    output
}
