//! The keys of an entry of `access_log`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::List;
use crate::config::{
    LogLineFormat, SyslogAddress, WhenFull,
    at::At,
    values::{AppName, FilePath, Number, Size, Time, YEAR, at_number},
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AccessLog {
    /// A file, whose folder must exist and which SIGUSR1 reopens; /dev/stdout is the same as `stdout:
    /// true`. One of `path`, `stdout` and `syslog` is required.
    pub(in crate::config) path: Option<At<FilePath>>,
    /// true: lines go to standard output.
    pub(in crate::config) stdout: Option<At<bool>>,
    /// Lines are messages of RFC 5424. Over UDP, losses are not noticed.
    pub(in crate::config) syslog: Option<At<Syslog>>,
    /// When the file of `path` is renamed to PATH.1, PATH.2 and so on, and a new one is begun.
    /// Absent: it grows until it is renamed and SIGUSR1 is sent, as logrotate does.
    pub(in crate::config) rotate: Option<At<Rotate>>,
    /// json, text, or a template such as '${time} "${client_id}" ${upstream} ${end_cause}', whose
    /// variables are the fields of the JSON form. A client ID can have spaces, and no quotes that are
    /// not escaped. A value that takes more than 4 KiB is cut, and says how much is missing.
    #[serde(default)]
    pub(in crate::config) format: At<LogLineFormat>,
    /// Which lines are written.
    #[serde(default = "default_events")]
    #[schemars(length(min = 1))]
    pub(in crate::config) events: At<List<Event>>,
    /// When the disk, or the syslog receiver, is slower than the clients or fails: `block` loses no
    /// line and makes new clients wait, and after 5s /readyz is 503; `drop` loses lines and counts
    /// them.
    #[serde(default)]
    pub(in crate::config) when_full: At<WhenFull>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Event {
    /// A session began.
    Connect,
    /// A session ended.
    Disconnect,
    /// A client got no session.
    Reject,
    /// A client left that had sent nothing, as checks of balancers do.
    Probe,
    /// An address, a client ID or a username was banned.
    Ban,
}

/// All but probes: balancers send one every few seconds.
fn default_events() -> At<List<Event>> {
    let events = [Event::Connect, Event::Disconnect, Event::Reject, Event::Ban];
    At::default_of(events.into_iter().map(At::default_of).collect())
}

type KeepCount = Number<u32, 1, 1000>;

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rotate {
    /// Before the file has more bytes than this: 1KiB to 1048576MiB, which no reader takes in one
    /// piece. At least one of `size` and `age` is required.
    pub(in crate::config) size: Option<At<Size<1024, { 1 << 40 }>>>,
    /// Once the file is older than this: 1s to 8760h. Faster than once a second, names would change
    /// under their readers.
    pub(in crate::config) age: Option<At<Time<1_000, YEAR>>>,
    /// How many old files there are at most, 1 to 1000; each rotation renames all of them.
    #[serde(default = "at_number::<7, KeepCount>")]
    pub(in crate::config) keep: At<KeepCount>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Syslog {
    /// unix:/PATH, udp://HOST:PORT, or tcp://HOST:PORT with counted octets. A name is looked up by
    /// the system, whenever it is connected to. Not journald's /dev/log, which reads no RFC 5424.
    pub(in crate::config) to: At<SyslogAddress>,
    /// The facility of the messages, by its name in syslog.conf(5).
    #[serde(default)]
    pub(in crate::config) facility: At<Facility>,
    /// The severity of the messages. Rejects are a notice, unless this is more severe.
    #[serde(default)]
    pub(in crate::config) severity: At<Severity>,
    /// The application's name in the messages: 1 to 48 printable characters of ASCII.
    #[serde(default = "mqtt_lb")]
    pub(in crate::config) app_name: At<AppName>,
}

fn mqtt_lb() -> At<AppName> {
    At::default_of(AppName("mqtt-lb".into()))
}

/// RFC 5424, 6.2.1, table 1, by the names of syslog.conf(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Facility {
    Kern = 0,
    User = 1,
    Mail = 2,
    Daemon = 3,
    Auth = 4,
    Syslog = 5,
    Lpr = 6,
    News = 7,
    Uucp = 8,
    Cron = 9,
    Authpriv = 10,
    Ftp = 11,
    #[default]
    Local0 = 16,
    Local1 = 17,
    Local2 = 18,
    Local3 = 19,
    Local4 = 20,
    Local5 = 21,
    Local6 = 22,
    Local7 = 23,
}

/// RFC 5424, 6.2.1, table 2, by the names of syslog.conf(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Severity {
    Emerg = 0,
    Alert = 1,
    Crit = 2,
    Err = 3,
    Warning = 4,
    Notice = 5,
    #[default]
    Info = 6,
    Debug = 7,
}
