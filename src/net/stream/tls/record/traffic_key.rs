//! The key of one direction, and how many records it has protected.

use std::ops::{Deref, DerefMut};

use aws_lc_rs::{
    aead::{LessSafeKey, NONCE_LEN},
    error::Unspecified,
    hkdf::{self, KeyType},
};
use rustls::Error;
use zeroize::Zeroizing;

use super::{
    header::Header,
    protection::{Cipher, Iv, Protection},
};
use crate::{
    net::aead_keys::{AeadKeyRef, AeadKeys},
    tls::{MAX_SECRET_BYTES, TrafficSecret},
};

/// The first sequence number that is not used: numbers must not wrap (RFC 8446, section 5.3).
/// rustls has the same.
pub(super) const SEQUENCE_NUMBER_LIMIT: u64 = 0xFFFF_FFFF_FFFF_FFFE;

/// The key of one direction.
pub(super) struct TrafficKey {
    bytes: KeyBytes,
    /// The sequence number of the next record.
    pub(super) next: u64,
    expanded: AeadKeyRef,
}

impl TrafficKey {
    /// A key that is followed by no other, as in TLS 1.2. `next`: the next sequence number.
    ///
    /// # Errors
    /// The key is not one of the cipher.
    pub(super) fn fixed(cipher: Cipher, key: &[u8], iv: Iv, next: u64) -> Result<Self, Error> {
        if key.len() != cipher.key_bytes() {
            return Err(unusable());
        }
        let mut bytes = KeyBytes::zeroed(iv.len() + key.len());
        bytes[..iv.len()].copy_from_slice(&iv);
        bytes[iv.len()..][..key.len()].copy_from_slice(key);
        Ok(Self { bytes, next, expanded: AeadKeyRef::default() })
    }

    /// The key of a traffic secret of TLS 1.3 (RFC 8446, section 7.3).
    ///
    /// # Errors
    /// The secret has not the length of the cipher's secrets.
    pub(super) fn derived(cipher: Cipher, secret: &[u8], next: u64) -> Result<Self, Error> {
        if secret.len() != cipher.secret_bytes() {
            return Err(unusable());
        }
        let mut bytes = KeyBytes::zeroed(NONCE_LEN + cipher.key_bytes() + secret.len());
        let (iv, rest) = bytes.split_at_mut(NONCE_LEN);
        let (key, rest) = rest.split_at_mut(cipher.key_bytes());
        expand_label(cipher, secret, b"key", key)?;
        expand_label(cipher, secret, b"iv", iv)?;
        rest[..secret.len()].copy_from_slice(secret);
        Ok(Self { bytes, next, expanded: AeadKeyRef::default() })
    }

    /// Replaces the key by the next one (RFC 8446, section 7.2).
    pub(super) fn update(&mut self, cipher: Cipher, keys: &AeadKeys) -> Result<(), Error> {
        let mut next = TrafficSecret::new([0; MAX_SECRET_BYTES]);
        let next = &mut next[..cipher.secret_bytes()];
        expand_label(cipher, self.secret(cipher), b"traffic upd", next)?;
        keys.remove(self.expanded);
        *self = Self::derived(cipher, next, 0)?;
        Ok(())
    }

    /// The secret of a [derived](Self::derived) key.
    pub(super) fn secret(&self, cipher: Cipher) -> &[u8] {
        &self.bytes[NONCE_LEN + cipher.key_bytes()..][..cipher.secret_bytes()]
    }

    pub(super) fn key_and_iv(&self, cipher: Cipher) -> (&[u8], Iv) {
        let (prefix, rest) = self.bytes.split_at(NONCE_LEN);
        let mut iv = Iv::default();
        iv.copy_from_slice(prefix);
        (&rest[..cipher.key_bytes()], iv)
    }

    /// The sequence number of the next record: how many records the key has protected.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn expanded(&self) -> AeadKeyRef {
        self.expanded
    }

    /// Writes a record to `room`, which has its length.
    ///
    /// # Errors
    /// [`Error::EncryptError`]: the sequence numbers are used up.
    pub(super) fn seal(
        &mut self,
        protection: Protection,
        keys: &AeadKeys,
        content: (u8, &[u8]),
        room: &mut [u8],
    ) -> Result<(), Error> {
        let number = self.next;
        if number >= SEQUENCE_NUMBER_LIMIT {
            return Err(Error::EncryptError);
        }
        // Even if encryption failed, no other record may get this number.
        self.next += 1;
        let sealed = self.with_key(protection.cipher, keys, |key, iv| {
            protection.seal(key, iv, number, content, room)
        });
        sealed.and_then(|sealed| sealed).map_err(|_| Error::EncryptError)
    }

    /// Decrypts a record's payload in place; returns its content type and plaintext.
    ///
    /// # Errors
    /// [`Error::DecryptError`], or what is wrong with the plaintext.
    pub(super) fn open<'a>(
        &mut self,
        protection: Protection,
        keys: &AeadKeys,
        header: Header,
        payload: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), Error> {
        let number = self.next;
        let following = number.checked_add(1).ok_or(Error::DecryptError)?;
        let opened = self.with_key(protection.cipher, keys, |key, iv| {
            protection.open(key, iv, number, header, payload)
        });
        let opened = opened.map_err(|_| Error::DecryptError)??;
        self.next = following;
        Ok(opened)
    }

    fn with_key<R>(
        &mut self,
        cipher: Cipher,
        keys: &AeadKeys,
        use_key: impl FnOnce(&LessSafeKey, &Iv) -> R,
    ) -> Result<R, Unspecified> {
        let mut expanded = self.expanded;
        let (key, iv) = self.key_and_iv(cipher);
        let used = keys.with(&mut expanded, || cipher.expand(key), |key| use_key(key, &iv));
        self.expanded = expanded;
        used
    }
}

/// An IV and its key; in TLS 1.3 followed by the secret from which they and the next secret are
/// derived.
enum KeyBytes {
    /// May be followed by zeros.
    Short(Zeroizing<[u8; SHORT_BYTES]>),
    Long(Zeroizing<Box<[u8]>>),
}

/// The most that needs no memory of its own: what TLS_AES_128_GCM_SHA256 has, which is what most
/// idle sessions keep.
const SHORT_BYTES: usize = NONCE_LEN + 16 + 32;

impl KeyBytes {
    fn zeroed(len: usize) -> Self {
        if len <= SHORT_BYTES {
            Self::Short(Zeroizing::new([0; SHORT_BYTES]))
        } else {
            Self::Long(Zeroizing::new(vec![0; len].into()))
        }
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => &**bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

impl DerefMut for KeyBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Short(bytes) => &mut **bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
fn expand_label(
    cipher: Cipher,
    secret: &[u8],
    label: &[u8],
    output: &mut [u8],
) -> Result<(), Error> {
    let hkdf = cipher.hkdf();
    let prefixed_bytes = PREFIX.len() + label.len();
    let lengths = [0, output.len() as u8, prefixed_bytes as u8];
    let info = [&lengths[..], PREFIX, label, &[0]];
    let secret = hkdf::Prk::new_less_safe(hkdf, secret);
    let expanded = secret.expand(&info, OutputLength(output.len()));
    expanded.and_then(|it| it.fill(output)).map_err(|_| unusable())
}

const PREFIX: &[u8] = b"tls13 ";

struct OutputLength(usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// A key, a secret or a suite that cannot be used together.
pub(super) fn unusable() -> Error {
    Error::General("the keys do not fit the cipher suite".into())
}
