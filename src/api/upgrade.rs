use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Counts, Word};

/// An upgrade that succeeded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Upgraded {
    #[schemars(extend("enum" = ["done"]))]
    pub(crate) outcome: Word,
    /// The new process, which accepts the clients.
    #[schemars(range(min = 1))]
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
}

/// The last upgrade that the process took part in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LastUpgrade {
    /// When it failed, or when this process began to accept.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) at: String,
    /// `done`: this process has taken over; `failed`: it carried on as before.
    #[schemars(extend("enum" = ["done", "failed"]))]
    pub(crate) outcome: Word,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The process that this one has taken over from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<PreviousProcess>,
}

/// The process before an upgrade.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PreviousProcess {
    #[schemars(range(min = 1))]
    pub(crate) pid: u32,
    pub(crate) version: String,
    /// It runs until its last session has ended, or `upgrade.timeout` has passed. `detached`: it
    /// runs, but the hand-over has broken off, and what it has is not known.
    #[schemars(extend("enum" = ["running", "detached", "ended"]))]
    pub(crate) state: Word,
    /// Sessions that have moved from it to this process.
    pub(crate) moved: u64,
    /// Connections that it still has; if it is `detached`, as it last told.
    pub(crate) remaining: u64,
    /// Sessions that could not move, by reason.
    pub(crate) stayed: Counts,
}
