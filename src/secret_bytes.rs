//! Bytes that are zeroized when they are dropped, and serialized as a byte string.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};
use zeroize::Zeroizing;

/// The most bytes that memory is reserved for by their announced number alone.
const MAX_RESERVED_BYTES: usize = 1 << 16;

/// Keys, secrets and plaintext. A buffer that grows leaves them behind: reserve before it is filled.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct SecretBytes(pub(crate) Zeroizing<Vec<u8>>);

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

/// For the states of models.
impl Hash for SecretBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secret bytes", self.0.len())
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = SecretBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<SecretBytes, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<SecretBytes, E> {
        Ok(SecretBytes(Zeroizing::new(bytes)))
    }

    /// Self-describing formats without byte strings have sequences of numbers.
    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<SecretBytes, A::Error> {
        let len = numbers.size_hint().unwrap_or_default().min(MAX_RESERVED_BYTES);
        let mut bytes = SecretBytes(Zeroizing::new(Vec::with_capacity(len)));
        while let Some(byte) = numbers.next_element()? {
            bytes.0.push(byte);
        }
        Ok(bytes)
    }
}
