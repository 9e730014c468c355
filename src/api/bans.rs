use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Word;

/// What a ban can apply to.
const KINDS: [&str; 3] = ["ip", "client_id", "username"];

/// A page of the bans in force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct BanPage {
    /// The latest first.
    #[schemars(length(max = 1000))]
    pub(crate) bans: Vec<Ban>,
    /// The number of all bans.
    pub(crate) total: usize,
    /// The `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// A ban.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Ban {
    #[schemars(extend("enum" = KINDS))]
    pub(crate) kind: Word,
    /// The address or the network; or the client ID or the username, its first 1,024 bytes.
    pub(crate) value: String,
    /// Who imposed it: the operator, or a rate of `limits`.
    #[schemars(extend("enum" = [
        "operator", "handshakes_per_ip", "connects_per_client_id", "connects_per_username",
        "bad_credentials_per_ip"
    ]))]
    pub(crate) reason: Word,
    /// The operator's comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<Box<str>>,
    #[schemars(extend("format" = "date-time"))]
    pub(crate) since: String,
    #[schemars(extend("format" = "date-time"))]
    pub(crate) until: String,
    /// Seconds until it ends.
    #[schemars(range(min = 0))]
    pub(crate) remaining_s: f64,
}

/// Bans to impose, all or none of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct NewBans {
    #[schemars(length(min = 1, max = 10_000))]
    pub(crate) bans: Vec<NewBan>,
}

/// A ban to impose. It replaces an earlier one of the same value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct NewBan {
    #[schemars(extend("enum" = KINDS))]
    pub(crate) kind: Word,
    /// An address or a network, such as 192.0.2.7 or 10.0.0.0/8; a client ID; or a username. Of
    /// client IDs and usernames, the first 1,024 bytes are compared.
    #[schemars(length(min = 1))]
    pub(crate) value: String,
    /// Seconds.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub(crate) for_s: u32,
    /// Why, for the list of bans and the access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub(crate) comment: Option<String>,
}

/// The bans are imposed; sessions of what they apply to end within seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Banned {
    #[schemars(range(min = 1))]
    pub(crate) banned: usize,
    /// Bans that are likely mistakes, such as one of the address that the request came from.
    pub(crate) warnings: Vec<String>,
}
