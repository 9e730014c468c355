//! JSON Web Tokens (RFC 7519) that clients prove their identity with.
//!
//! - [`Algorithm`]: the signatures that can be accepted; all have public keys
//! - [`Keys`]: the public keys of a file: a JWK set (RFC 7517) or PEM
//! - [`Verifier`]: from a token to its [`Claims`]

mod algorithm;
mod claims;
mod error;
mod jwk_set;
mod key;
mod keys;
mod pem;
#[cfg(test)]
mod tests;
mod verifier;

pub use algorithm::Algorithm;
pub use claims::Claims;
pub use error::JwtError;
pub(crate) use keys::KEYS;
pub use keys::Keys;
pub use verifier::Verifier;
