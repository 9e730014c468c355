//! One public key.

use jsonwebtoken::DecodingKey;

use super::algorithm::{Algorithm, KeyType};

/// The shortest RSA key, in bytes (RFC 7518, section 3.3).
pub(super) const MIN_RSA_BYTES: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `kid` of a JWK.
    pub(super) id: Option<Box<str>>,
    pub(super) kind: KeyType,
    /// `alg` of a JWK: the key signs by no other one.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) public: DecodingKey,
}
