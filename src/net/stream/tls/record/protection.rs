//! How records are protected: the version, the AEAD, nonces and additional data.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use aws_lc_rs::{
    error::Unspecified,
    hkdf::{self, KeyType},
};
use rustls::Error;
use serde::{Deserialize, Serialize};

use super::header::{APPLICATION_DATA, HEADER_BYTES, Header};
use crate::tls::TlsVersion;

/// The most plaintext in a record (RFC 8446, section 5.1).
pub(super) const MAX_PLAINTEXT_BYTES: usize = 1 << 14;

const TAG_BYTES: usize = 16;

/// What the nonce of a record consists of, and an AEAD's IV.
pub(super) type Iv = [u8; NONCE_LEN];

/// The salt of AES-GCM in TLS 1.2, which the explicit part of the nonce follows (RFC 5288, section
/// 3).
const SALT_BYTES: usize = 4;
const EXPLICIT_NONCE_BYTES: usize = NONCE_LEN - SALT_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl Cipher {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::Chacha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    pub(super) fn key_bytes(self) -> usize {
        self.algorithm().key_len()
    }

    /// The hash function of the TLS 1.3 suite with this AEAD (RFC 8446, appendix B.4).
    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128Gcm | Self::Chacha20Poly1305 => hkdf::HKDF_SHA256,
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }

    /// The length of a traffic secret in TLS 1.3.
    pub(super) fn secret_bytes(self) -> usize {
        self.hkdf().len()
    }

    pub(super) fn expand(self, key: &[u8]) -> Result<LessSafeKey, Unspecified> {
        UnboundKey::new(self.algorithm(), key).map(LessSafeKey::new)
    }
}

/// The protection of both directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Protection {
    pub(super) version: TlsVersion,
    pub(super) cipher: Cipher,
}

impl Protection {
    fn has_explicit_nonce(self) -> bool {
        self.version == TlsVersion::Tls12 && self.cipher != Cipher::Chacha20Poly1305
    }

    /// The bytes of a record in front of its ciphertext.
    fn prefix_bytes(self) -> usize {
        HEADER_BYTES + if self.has_explicit_nonce() { EXPLICIT_NONCE_BYTES } else { 0 }
    }

    /// The length of a record with this much plaintext.
    pub(super) fn record_bytes(self, plaintext: usize) -> usize {
        let content_type = usize::from(self.version == TlsVersion::Tls13);
        self.prefix_bytes() + plaintext + content_type + TAG_BYTES
    }

    /// Writes a record of [`Self::record_bytes`] to `room`.
    pub(super) fn seal(
        self,
        key: &LessSafeKey,
        iv: &Iv,
        number: u64,
        (content_type, plaintext): (u8, &[u8]),
        room: &mut [u8],
    ) -> Result<(), Unspecified> {
        let nonce = nonce(iv, number);
        let (record, prefix_bytes) = (&mut *room, self.prefix_bytes());
        let payload_bytes = self.record_bytes(plaintext.len()) - HEADER_BYTES;
        let (prefix, rest) = record.split_at_mut(prefix_bytes);
        let is_13 = self.version == TlsVersion::Tls13;
        let outer_type = if is_13 { APPLICATION_DATA } else { content_type };
        let [high, low] = u16::try_from(payload_bytes).map_err(|_| Unspecified)?.to_be_bytes();
        prefix[..HEADER_BYTES].copy_from_slice(&[outer_type, 3, 3, high, low]);
        if self.has_explicit_nonce() {
            prefix[HEADER_BYTES..].copy_from_slice(&nonce[SALT_BYTES..]);
        }
        let (text, tag) = rest.split_at_mut(plaintext.len() + usize::from(is_13));
        text[..plaintext.len()].copy_from_slice(plaintext);
        if is_13 {
            text[plaintext.len()] = content_type;
        }
        let header = Header { content_type: outer_type, version: [3, 3], payload_bytes };
        let aad = self.aad(number, header, plaintext.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        tag.copy_from_slice(key.seal_in_place_separate_tag(nonce, aad, text)?.as_ref());
        Ok(())
    }

    /// Decrypts a record's payload in place; returns its content type and plaintext.
    ///
    /// # Errors
    /// [`Error::DecryptError`], or what is wrong with the plaintext.
    pub(super) fn open<'a>(
        self,
        key: &LessSafeKey,
        iv: &Iv,
        number: u64,
        header: Header,
        payload: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), Error> {
        let mut nonce = nonce(iv, number);
        let mut ciphertext = payload;
        if self.has_explicit_nonce() {
            let (explicit, rest) =
                ciphertext.split_at_mut_checked(EXPLICIT_NONCE_BYTES).ok_or(Error::DecryptError)?;
            nonce = *iv;
            nonce[SALT_BYTES..].copy_from_slice(explicit);
            ciphertext = rest;
        }
        let plaintext_bytes = ciphertext.len().checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let aad = self.aad(number, header, plaintext_bytes);
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, ciphertext);
        let plaintext = &*opened.map_err(|_| Error::DecryptError)?;
        match self.version {
            TlsVersion::Tls12 if plaintext.len() > MAX_PLAINTEXT_BYTES => {
                Err(Error::PeerSentOversizedRecord)
            }
            TlsVersion::Tls12 => Ok((header.content_type, plaintext)),
            TlsVersion::Tls13 => unpad(plaintext),
        }
    }

    fn aad(self, number: u64, header: Header, plaintext_bytes: usize) -> Aad<AdditionalData> {
        let mut bytes = AdditionalData::default();
        match self.version {
            // The header of a TLSCiphertext, whose first three bytes are constant (RFC 8446,
            // section 5.2). Like rustls, the received ones are ignored.
            TlsVersion::Tls13 => {
                bytes.extend(&[APPLICATION_DATA, 3, 3]);
                bytes.extend(&(header.payload_bytes as u16).to_be_bytes());
            }
            // RFC 5246, section 6.2.3.3.
            TlsVersion::Tls12 => {
                bytes.extend(&number.to_be_bytes());
                bytes.extend(&[header.content_type]);
                bytes.extend(&header.version);
                bytes.extend(&(plaintext_bytes as u16).to_be_bytes());
            }
        }
        Aad::from(bytes)
    }
}

/// The additional data of a record: 5 bytes in TLS 1.3, 13 in TLS 1.2.
#[derive(Default)]
struct AdditionalData {
    bytes: [u8; 13],
    len: usize,
}

impl AdditionalData {
    fn extend(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The nonce of a record (RFC 8446, section 5.3; RFC 7905, section 2). For AES-GCM in TLS 1.2 it
/// can be chosen freely, as long as it is unique (RFC 5288, section 3); rustls chooses it like
/// this, too, and continuing as it began keeps it unique.
fn nonce(iv: &Iv, number: u64) -> Iv {
    let mut nonce = *iv;
    for (byte, of_number) in nonce[SALT_BYTES..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= of_number;
    }
    nonce
}

/// Removes the padding and the content type from a TLSInnerPlaintext (RFC 8446, section 5.4).
fn unpad(inner: &[u8]) -> Result<(u8, &[u8]), Error> {
    if inner.len() > MAX_PLAINTEXT_BYTES + 1 {
        return Err(Error::PeerSentOversizedRecord);
    }
    let Some(end) = inner.iter().rposition(|byte| *byte != 0) else {
        return Err(rustls::PeerMisbehaved::IllegalTlsInnerPlaintext.into());
    };
    Ok((inner[end], &inner[..end]))
}
