//! Refusals that a rule can name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a rule refuses a client, as the configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    Banned,
    NotAuthorized,
    BadCredentials,
    IdentifierRejected,
    ServerUnavailable,
    ServerBusy,
    QuotaExceeded,
}

impl Refusal {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::NotAuthorized => "not_authorized",
            Self::BadCredentials => "bad_credentials",
            Self::IdentifierRejected => "identifier_rejected",
            Self::ServerUnavailable => "server_unavailable",
            Self::ServerBusy => "server_busy",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }
}
