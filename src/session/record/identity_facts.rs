//! What a session keeps about its client's identity.

use crate::template::Claim;

/// What differs from the CONNECT that the broker was sent, or is not in it.
#[derive(Default)]
pub(crate) struct IdentityFacts {
    /// What the client sent, if its broker was sent other names.
    pub(crate) sent: Option<SentNames>,
    /// The ID that the proxy assigned to a client without one.
    pub(crate) assigned_client_id: Option<Box<str>>,
    /// The claims of its token that the configuration names.
    pub(crate) claims: Box<[Claim]>,
}

/// The names in the CONNECT that the client sent.
pub(crate) struct SentNames {
    pub(crate) client_id: Box<str>,
    pub(crate) username: Option<Box<str>>,
}
