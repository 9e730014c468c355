use std::{num::NonZeroU16, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Counts, Word};

/// All brokers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Pools {
    /// In the order of the configuration.
    pub(crate) pools: Vec<Pool>,
}

/// A pool and its brokers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Pool {
    pub(crate) name: Arc<str>,
    #[schemars(extend(
        "enum" = ["rendezvous", "maglev", "ketama", "least_connections", "round_robin"]
    ))]
    pub(crate) algorithm: Word,
    /// So many brokers appear down that all are tried.
    pub(crate) failing_open: bool,
    /// False while no broker answers, neither clients nor the proxy itself.
    pub(crate) serving: bool,
    /// Why it serves no client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_serving: Option<String>,
    pub(crate) upstreams: Vec<Upstream>,
}

/// A broker.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) address: String,
    /// The IP address of the host name in `address`; the first one tried, if it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resolved: Option<String>,
    /// The host's other IP addresses, in the order they are tried; absent if it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_addresses: Vec<String>,
    pub(crate) state: State,
    /// Neither health checks, nor clients' connections, nor the operator have it down.
    pub(crate) up: bool,
    /// Whether it gets new sessions.
    pub(crate) serving: bool,
    #[schemars(extend("enum" = [
        "up", "down", "ejected", "draining", "set_down", "full", "unresolved", "failing"
    ]))]
    pub(crate) status: Word,
    /// The weight in force.
    #[schemars(range(min = 1))]
    pub(crate) weight: u32,
    #[schemars(range(min = 1))]
    pub(crate) configured_weight: u32,
    pub(crate) backup: bool,
    /// 0: no limit.
    pub(crate) max_connections: u32,
    /// Found in DNS, not named in the configuration.
    pub(crate) discovered: bool,
    /// Sessions now, including those being established.
    pub(crate) sessions: u32,
    /// CONNACKs since the start, by reason.
    pub(crate) connacks: Counts,
    /// CONNECTs since the start that it was chosen for, by outcome.
    pub(crate) tries: Counts,
    /// Bytes from clients.
    pub(crate) bytes_in: u64,
    /// Bytes to clients.
    pub(crate) bytes_out: u64,
}

/// What the operator wants of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It gets new sessions.
    Ready,
    /// It gets no new sessions, and keeps those it has.
    Drain,
    /// It is treated as if its health checks failed.
    Down,
}

/// What is to change about a broker: at least one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub(crate) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<Weight>,
}

/// A weight from 1 to 65535, or null for the one in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Weight(pub(crate) Option<NonZeroU16>);

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Ready, Self::Drain, Self::Down];

    /// As in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}
