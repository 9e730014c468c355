//! What a session keeps about its client's identity.

use serde::{Deserialize, Serialize};

use crate::template::Claim;

/// What differs from the CONNECT that the broker was sent, or is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct IdentityFacts {
    /// What the client sent, if its broker was sent other names.
    pub(crate) sent: Option<SentNames>,
    /// The ID that the proxy assigned to a client without one.
    pub(crate) assigned_client_id: Option<Box<str>>,
    /// What is wrong with the CONNECT of a client that is served all the same.
    pub(crate) violation: Option<Box<str>>,
    /// The claims of its token that the configuration names.
    pub(crate) claims: Box<[Claim]>,
    /// The second in which its token expires and the session ends, as counted by
    /// [`WorkerContext::seconds`](crate::session::context::WorkerContext::seconds).
    #[serde(skip)]
    pub(crate) expires: Option<u32>,
}

/// The names in the CONNECT that the client sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentNames {
    pub(crate) client_id: Box<str>,
    pub(crate) username: Option<Box<str>>,
}

impl IdentityFacts {
    /// The subject of the client's token (RFC 7519, section 4.1.2).
    pub(crate) fn subject(&self) -> Option<&str> {
        let subject = self.claims.iter().find(|claim| &*claim.name == "sub")?;
        Some(&subject.value)
    }
}
