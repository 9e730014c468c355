use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sessions::Session;

/// Where a client would go, and where it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Routes {
    pub(crate) client_id: String,
    /// In the order of the configuration.
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
