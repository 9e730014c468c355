//! Why a token is refused.

use thiserror::Error;

/// Why a token is refused. The texts name no part of the token but its algorithm and its key's ID.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JwtError {
    #[error("no token in the field that `authenticate.jwt.from` names")]
    Absent,
    #[error("a token of {0} bytes is longer than the {max} that are read", max = super::verifier::MAX_TOKEN_BYTES)]
    TooLong(usize),
    #[error("not a JSON Web Token")]
    Malformed,
    #[error("the token has a critical extension (crit), which is not understood")]
    Critical,
    #[error("the token is signed by {0}, which is not one of `algorithms`")]
    Algorithm(String),
    #[error("no key for {algorithm}{}", key_id.as_ref().map_or(String::new(), |id| format!(" with the ID {id}")))]
    UnknownKey { algorithm: &'static str, key_id: Option<String> },
    #[error("the signature is invalid")]
    Signature,
    #[error("the claim {0} is not a time")]
    Time(&'static str),
    #[error("the token expired {0} s ago")]
    Expired(u64),
    #[error("the token is not valid yet, for another {0} s")]
    NotYetValid(u64),
    #[error("the claim iss is not the configured issuer")]
    Issuer,
    #[error("the claim aud does not contain the audience")]
    Audience,
}

impl JwtError {
    /// Whether the token is genuine, but not valid here or now.
    pub(crate) fn is_genuine(&self) -> bool {
        match self {
            Self::Time(_)
            | Self::Expired(_)
            | Self::NotYetValid(_)
            | Self::Issuer
            | Self::Audience => true,
            Self::Absent
            | Self::TooLong(_)
            | Self::Malformed
            | Self::Critical
            | Self::Algorithm(_)
            | Self::UnknownKey { .. }
            | Self::Signature => false,
        }
    }
}
