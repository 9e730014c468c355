//! From a token to its claims.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, claims::Claims, error::JwtError, keys::Keys};

/// The longest token that is read: many times what issuers make, and short enough to be decoded
/// within a worker's turn.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The most characters of a name from a token's header in a message.
const MAX_QUOTED_CHARS: usize = 64;

/// Verifies tokens.
#[derive(Clone, Debug)]
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
    /// Whether the same is asked of tokens, whatever the keys.
    pub(crate) fn has_same_rules(&self, other: &Self) -> bool {
        let rules =
            |of: &Self| (of.algorithms.clone(), of.issuer.clone(), of.audience.clone(), of.leeway);
        rules(self) == rules(other)
    }

    /// Verifies a token. `now`: seconds of Unix time. A token without `exp` never expires.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &[u8], now: u64) -> Result<Claims, JwtError> {
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
        let claims = self.signed_claims(token, algorithm, header.kid.as_deref())?;
        self.check(&claims, now).map(|()| claims)
    }

    /// The claims, if one of the keys has signed them.
    fn signed_claims(
        &self,
        token: &[u8],
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Result<Claims, JwtError> {
        let mut validation = Validation::new(algorithm.in_jose());
        // Checked by `check`, to the second.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let mut refused =
            JwtError::UnknownKey { algorithm: algorithm.name(), key_id: key_id.map(quote) };
        for key in self.keys.candidates(algorithm, key_id) {
            match jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation) {
                Ok(decoded) => return Ok(Claims(decoded.claims)),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => refused = JwtError::Signature,
                    _ => return Err(JwtError::Malformed),
                },
            }
        }
        Err(refused)
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
