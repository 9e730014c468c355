//! One public key.

use jsonwebtoken::DecodingKey;

use super::algorithm::{Algorithm, KeyType};

/// The shortest RSA key (RFC 7518, section 3.3), and the longest that signatures are verified with;
/// in bytes.
const MIN_RSA_BYTES: usize = 256;
const MAX_RSA_BYTES: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `kid` of a JWK.
    pub(super) id: Option<Box<str>>,
    pub(super) kind: KeyType,
    /// `alg` of a JWK: the key signs by no other one.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) public: DecodingKey,
}

/// Checks the length of an RSA key's modulus, in bytes without leading zeros.
pub(super) fn check_rsa_len(bytes: usize) -> Result<(), &'static str> {
    match bytes {
        ..MIN_RSA_BYTES => Err("an RSA key of less than 2048 bits"),
        MIN_RSA_BYTES..=MAX_RSA_BYTES => Ok(()),
        _ => Err("an RSA key of more than 8192 bits"),
    }
}
