use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{sessions::Session, value::Word};

/// Where a client would go, and where it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Routes {
    pub(crate) client_id: String,
    /// The listener whose rules and `rewrite` were applied, if the request names one; without it,
    /// the following fields up to `pools` are absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<Arc<str>>,
    /// The rules up to the one that decides; absent if the listener has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Verdict>,
    /// The rule that decides; absent if none holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Arc<str>>,
    /// The pool that the client would go to; absent if it would be refused or redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Arc<str>>,
    /// The reason of the rule's refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refuse: Option<Word>,
    /// The server that the rule sends the client to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<Arc<str>>,
    /// Why the listener would refuse the client before its rules apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// In the order of the configuration. With a listener: the pool that the client would go to, and
    /// those where it has sessions.
    pub(crate) pools: Vec<PoolRoute>,
}

/// A client's brokers in one pool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PoolRoute {
    pub(crate) pool: Arc<str>,
    /// The brokers by the client's key, as if all were up and empty; empty if no key decides.
    pub(crate) order: Vec<Candidate>,
    /// The broker that would get the client now; absent if none takes sessions, or no key decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goes_to: Option<Arc<str>>,
    /// The sessions that the client ID has now.
    pub(crate) sessions: Vec<Session>,
    /// Why no key decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// A broker in a client's order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Candidate {
    pub(crate) upstream: Arc<str>,
    /// Whether it gets new sessions.
    pub(crate) serving: bool,
}

/// Whether a rule holds for a client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Verdict {
    pub(crate) rule: Arc<str>,
    pub(crate) holds: bool,
    /// The first condition that is not met, or the share that decides.
    pub(crate) why: String,
}
