use std::{net::IpAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The client IDs that several devices use.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Duplicates {
    /// Those with the most sessions ended first.
    #[schemars(length(max = 256))]
    pub(crate) duplicates: Vec<Duplicate>,
    /// Client IDs that are no longer listed since the start: the least recent make room for others.
    pub(crate) evicted: u64,
}

/// A client ID that several devices use.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Duplicate {
    pub(crate) pool: Arc<str>,
    /// Its first 1,024 bytes.
    pub(crate) client_id: Box<str>,
    /// The username of the last session, its first 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<Box<str>>,
    /// Sessions that ended with the cause `duplicate`.
    #[schemars(range(min = 1))]
    pub(crate) count: u64,
    /// When the first of them ended.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) first: String,
    /// When the last of them ended.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) last: String,
    /// The addresses of their clients, the latest last.
    #[schemars(length(max = 8))]
    pub(crate) addresses: Vec<IpAddr>,
}
