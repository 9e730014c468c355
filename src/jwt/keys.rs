//! The public keys of a file.

use jsonwebtoken::DecodingKey;
use xxhash_rust::xxh3::xxh3_64;

use super::{algorithm::Algorithm, jwk_set, key::Key, pem};

/// The files allowed for the keys of tokens.
pub(crate) const KEYS: &str = "a readable file with public keys: a JWK set, or PEM";

/// The most keys that are tried for one token.
const MAX_TRIED_KEYS: usize = 8;

/// The public keys that sign tokens.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Vec<Key>,
    /// A hash of the file.
    hash: u64,
}

/// Read from the same file.
impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Keys {
    /// Reads the contents of a file. Keys of a JWK set that are not for signatures, or of a type that
    /// is not supported, are skipped (RFC 7517, section 5).
    ///
    /// # Errors
    /// What is wrong with the file, as the predicate of a sentence about it.
    pub fn parse(contents: &[u8]) -> Result<Self, String> {
        let hash = xxh3_64(contents);
        // A byte-order mark.
        let contents = contents.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(contents);
        let is_json = contents.trim_ascii_start().first() == Some(&b'{');
        let keys = if is_json { jwk_set::keys(contents) } else { pem::keys(contents) }?;
        if keys.is_empty() {
            return Err("holds no public key for signatures".to_owned());
        }
        Ok(Self { keys, hash })
    }

    /// The keys that a token may be signed with: those with its key ID first, then those without
    /// an ID, which fit any.
    pub(super) fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> Vec<&DecodingKey> {
        let fits = |key: &&Key| {
            key.kind == algorithm.key_type() && key.algorithm.is_none_or(|only| only == algorithm)
        };
        let named =
            self.keys.iter().filter(fits).filter(|key| id.is_some() && key.id.as_deref() == id);
        let others = self.keys.iter().filter(fits).filter(|key| id.is_none() || key.id.is_none());
        named.chain(others).map(|key| &key.public).take(MAX_TRIED_KEYS).collect()
    }

    /// Whether there is a key for this algorithm.
    pub(crate) fn has_key_for(&self, algorithm: Algorithm) -> bool {
        !self.candidates(algorithm, None).is_empty()
    }
}
