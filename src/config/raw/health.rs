//! The keys of a pool's `health`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Interval, List, Percent, Port, Positive, empty};
use crate::config::{
    at::At,
    values::{FilePath, HttpPath, Limit, MqttString, Number, Time, at_number, at_time},
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// Probes of every broker. Absent: none; brokers that fail clients are found by `passive`.
    pub(in crate::config) active: Option<At<Active>>,
    /// Ejection of brokers that fail clients: whose dial fails or times out, who send no CONNACK in
    /// time, or who close the connection or say that they are unavailable or busy when another broker
    /// then takes the same CONNECT. None of it counts if others were answered meanwhile.
    #[serde(default = "empty::<Passive>")]
    pub(in crate::config) passive: At<Passive>,
    /// When at least this percentage of the brokers that the operator has not set draining or down
    /// look down, by checks or ejections, the fault is more likely in the checks or the network: all
    /// are tried, no session is closed, an error is logged and the metric pool_failing_open is 1. 0
    /// never doubts.
    #[serde(default = "at_number::<90, Percent>")]
    pub(in crate::config) fail_open_percent: At<Percent>,
}

/// Keys that a section does not have with this `type`: section, type, keys.
pub(in crate::config) const KEYS_OF_OTHER_TYPES: &[(&str, &str, &[&str])] = &[
    ("Active", "tcp", &["username", "password_file", "expect", "port", "path"]),
    ("Active", "mqtt", &["port", "path"]),
];

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Active {
    /// What is asked: `tcp`, that a connection is accepted; `mqtt`, that a CONNECT of 3.1.1 is
    /// answered, after which the probe leaves as a client does; `http`, that a GET is answered, such
    /// as EMQX's /api/v5/load_rebalance/availability_check, which says 503 while a node evacuates.
    #[serde(rename = "type")]
    pub(in crate::config) kind: At<CheckType>,
    /// From one probe of a broker to the next, 100ms to 24h; varied a little, so that probes do not
    /// come in step.
    #[serde(default = "at_time::<5_000, Interval>")]
    pub(in crate::config) interval: At<Interval>,
    /// For the whole probe: a broker that needs longer is of no use to clients either.
    #[serde(default = "at_time::<2_000, Time>")]
    pub(in crate::config) timeout: At<Time>,
    /// Good probes in a row that bring a broker back.
    #[serde(default = "at_number::<2, Positive>")]
    pub(in crate::config) rise: At<Positive>,
    /// Failed probes in a row that take a broker out: one lost packet is no outage.
    #[serde(default = "at_number::<3, Positive>")]
    pub(in crate::config) fall: At<Positive>,
    /// Who the probe is, for mqtt and http (basic authentication). Absent: it does not say.
    pub(in crate::config) username: Option<At<MqttString>>,
    /// A file with one line, the password. mqtt takes a username alone, http both or neither.
    pub(in crate::config) password_file: Option<At<FilePath>>,
    /// What a good answer is: return codes of the CONNACK, 0 to 5, [0] when absent; for http status
    /// codes, 200 to 599, [200] when absent. [0, 5] accepts a broker that does not know the probe.
    #[schemars(length(min = 1))]
    pub(in crate::config) expect: Option<At<List<Code>>>,
    /// For type http alone: the port that is asked. Required.
    pub(in crate::config) port: Option<At<Port>>,
    /// For type http alone: the path of the request, with its query. Absent: /.
    pub(in crate::config) path: Option<At<HttpPath>>,
}

/// A return code of MQTT 3.1.1 (table 3.1), or a status of HTTP (RFC 9110, section 15).
pub(in crate::config) type Code = Number<u16, 0, 999>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CheckType {
    Tcp,
    Mqtt,
    Http,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Passive {
    /// So many failures in a row, within the window, eject a broker; 0 ejects none.
    #[serde(default = "at_number::<5, Limit>")]
    pub(in crate::config) failures: At<Limit>,
    /// How long a failure counts.
    #[serde(default = "at_time::<30_000, Time>")]
    pub(in crate::config) window: At<Time>,
    /// How long a broker is ejected; twice as long each time that follows on another, up to 5m, or
    /// eject_for if that is longer. Then one client is the trial. The broker's sessions stay.
    #[serde(default = "at_time::<30_000, Time>")]
    pub(in crate::config) eject_for: At<Time>,
    /// The most of the pool's brokers that are ejected at a time, rounded down: those that are left
    /// must carry the load. The only broker of a pool never is.
    #[serde(default = "at_number::<50, Percent>")]
    pub(in crate::config) max_ejected_percent: At<Percent>,
}
