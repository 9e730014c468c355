//! The protection of records, by code that has nothing in common with the proxy's.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::cases::DATA;

/// The key of one direction.
pub(super) struct Key {
    aead: LessSafeKey,
    iv: [u8; 12],
    pub(super) next: u64,
    is_13: bool,
    has_explicit_nonce: bool,
}

impl Key {
    pub(super) fn new(
        (next, secrets): (u64, ConnectionTrafficSecrets),
        version: ProtocolVersion,
    ) -> Self {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => panic!("another cipher"),
        };
        let is_13 = version == ProtocolVersion::TLSv1_3;
        Self {
            aead: LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap()),
            iv: iv.as_ref().try_into().unwrap(),
            next,
            is_13,
            has_explicit_nonce: !is_13 && algorithm != &CHACHA20_POLY1305,
        }
    }

    /// The nonce and the additional data of the next record.
    fn parameters(&mut self, content_type: u8, text_bytes: usize) -> ([u8; 12], Aad<Vec<u8>>) {
        let mut nonce = self.iv;
        let number = u128::from(self.next).to_be_bytes();
        nonce.iter_mut().zip(&number[4..]).for_each(|(byte, other)| *byte ^= other);
        let mut aad = if self.is_13 { Vec::new() } else { self.next.to_be_bytes().to_vec() };
        let len = if self.is_13 { text_bytes + 16 } else { text_bytes };
        aad.extend([content_type, 3, 3, (len >> 8) as u8, len as u8]);
        self.next += 1;
        (nonce, Aad::from(aad))
    }

    pub(super) fn seal(&mut self, content_type: u8, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        text.extend(self.is_13.then_some(content_type));
        let outer_type = if self.is_13 { DATA } else { content_type };
        let (nonce, aad) = self.parameters(outer_type, text.len());
        let aead_nonce = Nonce::assume_unique_for_key(nonce);
        self.aead.seal_in_place_append_tag(aead_nonce, aad, &mut text).unwrap();
        let explicit = if self.has_explicit_nonce { &nonce[4..] } else { &[] };
        let len = explicit.len() + text.len();
        [&[outer_type, 3, 3, (len >> 8) as u8, len as u8][..], explicit, &text].concat()
    }

    /// The content types and plaintexts of all these records.
    pub(super) fn open(&mut self, mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut opened = Vec::new();
        while let [outer_type, 3, 3, high, low, rest @ ..] = wire {
            let (payload, rest) = rest.split_at(usize::from(*high) << 8 | usize::from(*low));
            wire = rest;
            let (explicit, payload) = payload.split_at(if self.has_explicit_nonce { 8 } else { 0 });
            let (mut nonce, aad) = self.parameters(*outer_type, payload.len() - 16);
            if self.has_explicit_nonce {
                nonce[4..].copy_from_slice(explicit);
            }
            let mut payload = payload.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            // After a key update, which is not followed here.
            let Ok(text) = self.aead.open_in_place(nonce, aad, &mut payload) else {
                opened.push((0, Vec::new()));
                continue;
            };
            opened.push(match text.split_last() {
                Some((last, text)) if self.is_13 => (*last, text.to_vec()),
                _ => (*outer_type, text.to_vec()),
            });
        }
        assert_eq!(wire, b"", "a part of a record");
        opened
    }
}
