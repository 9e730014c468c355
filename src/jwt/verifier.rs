//! From a token to its claims.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, errors::ErrorKind};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, claims::Claims, error::JwtError, keys::Keys};

/// The longest token that is read: many times what issuers make, and short enough to be decoded
/// within a worker's turn.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The most characters of a name from a token's header in a message.
const MAX_QUOTED_CHARS: usize = 64;

/// Verifies tokens. Equal to another one that accepts the same tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Verifier {
    pub keys: Keys,
    /// The signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` has to be; `None`: anything.
    pub issuer: Option<Box<str>>,
    /// What `aud` has to contain; `None`: anything.
    pub audience: Option<Box<str>>,
    /// How far the clocks may differ, in seconds.
    pub leeway: u64,
}

/// The parts of a header (RFC 7515, section 4.1) that decide how its token is verified.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl Verifier {
    /// Those of its algorithms that no key is for.
    pub(crate) fn algorithms_without_key(&self) -> impl Iterator<Item = Algorithm> {
        self.algorithms.iter().copied().filter(|algorithm| !self.keys.has_key_for(*algorithm))
    }

    /// Begins to verify a token. `now`: seconds of Unix time. A token without `exp` never expires.
    ///
    /// # Errors
    /// Why the token is refused, if that shows without a signature.
    pub(crate) fn begin<'a>(
        &'a self,
        token: &'a [u8],
        now: u64,
    ) -> Result<Verification<'a>, JwtError> {
        match token.len() {
            0 => return Err(JwtError::Absent),
            len if len > MAX_TOKEN_BYTES => return Err(JwtError::TooLong(len)),
            _ => {}
        }
        let header = header(token)?;
        let algorithm = Algorithm::named(&header.alg)
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or_else(|| JwtError::Algorithm(quote(&header.alg)))?;
        if header.crit {
            return Err(JwtError::Critical);
        }
        let mut validation = Validation::new(algorithm.in_jose());
        // Checked by `check`, to the second.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let key_id = header.kid.as_deref();
        let keys = self.keys.candidates(algorithm, key_id).into_iter();
        let refused = match keys.len() {
            0 => JwtError::UnknownKey { algorithm: algorithm.name(), key_id: key_id.map(quote) },
            _ => JwtError::Signature,
        };
        Ok(Verification { verifier: self, token, now, validation, keys, refused })
    }

    /// Verifies a token in one go, as tests do.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &[u8], now: u64) -> Result<Claims, JwtError> {
        let mut verification = self.begin(token, now)?;
        loop {
            if let Some(verified) = verification.try_next_key() {
                return verified;
            }
        }
    }

    /// RFC 7519, sections 4.1.1, 4.1.3 to 4.1.5.
    fn check(&self, claims: &Claims, now: u64) -> Result<(), JwtError> {
        let expires = claims.time("exp").map_err(|()| JwtError::Time("exp"))?;
        let begins = claims.time("nbf").map_err(|()| JwtError::Time("nbf"))?;
        if let Some(expires) = expires.filter(|at| at.saturating_add(self.leeway) <= now) {
            return Err(JwtError::Expired(now - expires));
        }
        if let Some(begins) = begins.filter(|at| at.saturating_sub(self.leeway) > now) {
            return Err(JwtError::NotYetValid(begins - now));
        }
        if self.issuer.as_ref().is_some_and(|issuer| !claims.is("iss", issuer)) {
            return Err(JwtError::Issuer);
        }
        if self.audience.as_ref().is_some_and(|audience| !claims.contains("aud", audience)) {
            return Err(JwtError::Audience);
        }
        Ok(())
    }
}

/// The verification of one token, a key at a time: each signature is a heavy task.
pub(crate) struct Verification<'a> {
    verifier: &'a Verifier,
    token: &'a [u8],
    now: u64,
    validation: Validation,
    /// Those that are left to try.
    keys: std::vec::IntoIter<&'a DecodingKey>,
    refused: JwtError,
}

impl Verification<'_> {
    /// Tries the next key. Returns the claims, or why the token is refused; `None` if another key has
    /// to be tried.
    pub(crate) fn try_next_key(&mut self) -> Option<Result<Claims, JwtError>> {
        let Some(key) = self.keys.next() else { return Some(Err(self.refused.clone())) };
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(self.token, key, &self.validation);
        match decoded {
            Ok(decoded) => {
                let claims = Claims(decoded.claims);
                Some(self.verifier.check(&claims, self.now).map(|()| claims))
            }
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => None,
            Err(_) => Some(Err(JwtError::Malformed)),
        }
    }
}

/// Whether a key is there, whatever its value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn header(token: &[u8]) -> Result<Header, JwtError> {
    let encoded = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| JwtError::Malformed)
}

/// A name from a token's header: short, and on one line.
fn quote(name: &str) -> String {
    let short: String = name.chars().take(MAX_QUOTED_CHARS).collect();
    format!("{short:?}")
}
