//! The keys of a listener about MQTT over WebSocket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{List, empty};
use crate::config::{
    at::At,
    values::{HOUR, HttpPath, Network, Origin, Size, Subprotocol, Time, at_size},
};

/// From what any client needs to the longest that common servers accept with their defaults.
type HeadSize = Size<1024, { 64 * 1024 }>;
/// The sweep over sessions runs once a second.
type PingInterval = Time<1_000, { 24 * HOUR }>;

/// The path of requests where neither `path` nor `paths` is given.
pub(in crate::config) const DEFAULT_PATH: &str = "/mqtt";

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WebSocket {
    /// The path of a request; a query after it is ignored. A * at its end stands for any rest:
    /// /mqtt/*. Absent: /mqtt, or what `paths` says.
    pub(in crate::config) path: Option<At<HttpPath>>,
    /// Several paths, in place of `path`.
    #[schemars(length(min = 1))]
    pub(in crate::config) paths: Option<At<List<HttpPath>>>,
    /// The longest head of a request, cookies included: 1 KiB to 64 KiB. A longer one is answered
    /// with 431.
    #[serde(default = "at_size::<8, HeadSize>")]
    pub(in crate::config) max_head: At<HeadSize>,
    /// The subprotocols of which a client has to offer one, the preferred first; `none` also accepts
    /// clients that offer none. The standard's are mqtt (MQTT 5.0, section 6) and mqttv3.1.
    #[serde(default = "standard_subprotocols")]
    #[schemars(length(min = 1))]
    pub(in crate::config) subprotocols: At<List<Subprotocol>>,
    /// Sends a Ping to a client that has been sent nothing for so long, in whole seconds, so that
    /// HTTP proxies in between keep the connection (nginx ends it after proxy_read_timeout, 60s). A
    /// client that sends nothing after two Pings in a row, not even Pongs, is ended as idle when the
    /// third is due. A session keeps the value of its start. Absent: no Pings.
    pub(in crate::config) ping: Option<At<PingInterval>>,
    /// Networks of HTTP proxies in front of this one. Their X-Forwarded-For says who the client is:
    /// the last address in it that is not in these networks. Absent: the header is ignored.
    #[schemars(length(min = 1))]
    pub(in crate::config) forwarded_for: Option<At<List<Network>>>,
    /// Whose pages may connect, as browsers write it in Origin; other clients send no Origin. Absent:
    /// any. Passwords keep strangers out, this keeps strangers' pages out.
    #[schemars(length(min = 1))]
    pub(in crate::config) origins: Option<At<List<Origin>>>,
}

/// The section with all of its keys absent.
pub(in crate::config) fn default_websocket() -> At<WebSocket> {
    empty()
}

fn standard_subprotocols() -> At<List<Subprotocol>> {
    let names = ["mqtt", "mqttv3.1"].map(|name| At::default_of(Subprotocol(name.into())));
    At::default_of(names.into())
}
