//! The key of one direction, and how many records it has protected.

use aws_lc_rs::{
    aead::LessSafeKey,
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

/// The longest key: that of AES-256-GCM and of ChaCha20-Poly1305.
pub(super) const MAX_KEY_BYTES: usize = 32;

/// The first sequence number that is not used: numbers must not wrap (RFC 8446, section 5.3).
/// rustls has the same.
pub(super) const SEQUENCE_NUMBER_LIMIT: u64 = 0xFFFF_FFFF_FFFF_FFFE;

/// The key of one direction.
pub(super) struct TrafficKey {
    /// In TLS 1.3, the secret from which the key and the next secret are derived.
    secret: Option<TrafficSecret>,
    /// The key, followed by zeros.
    key: Zeroizing<[u8; MAX_KEY_BYTES]>,
    iv: Iv,
    /// The sequence number of the next record.
    pub(super) next: u64,
    expanded: AeadKeyRef,
}

impl TrafficKey {
    /// A key that is followed by no other, as in TLS 1.2. `next`: the next sequence number.
    ///
    /// # Errors
    /// The key is too long.
    pub(super) fn fixed(key: &[u8], iv: Iv, next: u64) -> Result<Self, Error> {
        let mut padded = Zeroizing::new([0; MAX_KEY_BYTES]);
        padded.get_mut(..key.len()).ok_or_else(unusable)?.copy_from_slice(key);
        Ok(Self { secret: None, key: padded, iv, next, expanded: AeadKeyRef::default() })
    }

    /// The key of a traffic secret of TLS 1.3 (RFC 8446, section 7.3).
    pub(super) fn derived(cipher: Cipher, secret: TrafficSecret, next: u64) -> Result<Self, Error> {
        let (mut key, mut iv) = (Zeroizing::new([0; MAX_KEY_BYTES]), Iv::default());
        expand_label(cipher, &secret, b"key", &mut key[..cipher.key_bytes()])?;
        expand_label(cipher, &secret, b"iv", &mut iv)?;
        Ok(Self { secret: Some(secret), key, iv, next, expanded: AeadKeyRef::default() })
    }

    /// Replaces the key by the next one (RFC 8446, section 7.2).
    pub(super) fn update(&mut self, cipher: Cipher, keys: &AeadKeys) -> Result<(), Error> {
        let secret = self.secret.as_ref().ok_or_else(unusable)?;
        let mut next = TrafficSecret::new([0; MAX_SECRET_BYTES]);
        expand_label(cipher, secret, b"traffic upd", &mut next[..cipher.hkdf().len()])?;
        keys.remove(self.expanded);
        *self = Self::derived(cipher, next, 0)?;
        Ok(())
    }

    pub(super) fn secret(&self) -> Option<&TrafficSecret> {
        self.secret.as_ref()
    }

    pub(super) fn key_and_iv(&self, cipher: Cipher) -> (&[u8], Iv) {
        (&self.key[..cipher.key_bytes()], self.iv)
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
        let (iv, number) = (self.iv, self.next);
        if number >= SEQUENCE_NUMBER_LIMIT {
            return Err(Error::EncryptError);
        }
        // Even if encryption failed, no other record may get this number.
        self.next += 1;
        let sealed = self.with_key(protection.cipher, keys, |key| {
            protection.seal(key, &iv, number, content, room)
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
        let (iv, number) = (self.iv, self.next);
        let following = number.checked_add(1).ok_or(Error::DecryptError)?;
        let opened = self.with_key(protection.cipher, keys, |key| {
            protection.open(key, &iv, number, header, payload)
        });
        let opened = opened.map_err(|_| Error::DecryptError)??;
        self.next = following;
        Ok(opened)
    }

    fn with_key<R>(
        &mut self,
        cipher: Cipher,
        keys: &AeadKeys,
        use_key: impl FnOnce(&LessSafeKey) -> R,
    ) -> Result<R, Unspecified> {
        let key = &self.key[..cipher.key_bytes()];
        keys.with(&mut self.expanded, || cipher.expand(key), use_key)
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
fn expand_label(
    cipher: Cipher,
    secret: &TrafficSecret,
    label: &[u8],
    output: &mut [u8],
) -> Result<(), Error> {
    let hkdf = cipher.hkdf();
    let prefixed_bytes = PREFIX.len() + label.len();
    let lengths = [0, output.len() as u8, prefixed_bytes as u8];
    let info = [&lengths[..], PREFIX, label, &[0]];
    let secret = hkdf::Prk::new_less_safe(hkdf, cipher.secret(secret));
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
