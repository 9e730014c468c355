//! The public keys of a file.

use jsonwebtoken::DecodingKey;

use super::{algorithm::Algorithm, jwk_set, key::Key, pem};

/// The files allowed for the keys of tokens.
pub(crate) const KEYS: &str = "a readable file with public keys: a JWK set, or PEM";

/// The most keys that are tried for a token. Each costs a verified signature, so this bounds the turn.
const MAX_TRIED_KEYS: usize = 8;

/// The public keys that sign tokens.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads the contents of a file. Keys of a JWK set that are not for signatures, or of a type that
    /// is not supported, are skipped (RFC 7517, section 5).
    ///
    /// # Errors
    /// What is wrong with the file, as the predicate of a sentence about it.
    pub fn parse(contents: &[u8]) -> Result<Self, String> {
        let is_json = contents.trim_ascii_start().first() == Some(&b'{');
        let keys = if is_json { jwk_set::keys(contents) } else { pem::keys(contents) }?;
        if keys.is_empty() {
            return Err("holds no public key for signatures".to_owned());
        }
        Ok(Self(keys))
    }

    /// The keys that a token may be signed with: those with its ID, then those without an ID, which
    /// fit any. A token without an ID may be signed with any key.
    pub(super) fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let fits = move |key: &&Key| {
            key.kind == algorithm.key_type() && key.algorithm.is_none_or(|only| only == algorithm)
        };
        let named = move |key: &&Key| id.is_some() && key.id.as_deref() == id;
        let any = move |key: &&Key| id.is_none() || key.id.is_none();
        let keys = self.0.iter().filter(fits);
        // A key with the ID is tried however many keys without one precede it in the file.
        let ordered = keys.clone().filter(named).chain(keys.filter(any));
        ordered.map(|key| &key.public).take(MAX_TRIED_KEYS)
    }
}
