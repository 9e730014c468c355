//! The header of a syslog message: RFC 5424, section 6.

use crate::{config::Syslog, labels::Event, timestamp::Timestamp};

/// Normal but significant (RFC 5424, 6.2.1, table 2), for a client that was refused or banned.
const SEVERITY_NOTICE: u8 = 5;

/// The header of one log's messages: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID - `.
///
/// MSGID is the event, and there is no structured data. The line has no byte-order mark, as the
/// grammar allows (MSG-ANY): in a receiver's file it would precede the `{`.
#[derive(Clone)]
pub(super) struct SyslogHeader {
    /// `<PRI>1 ` of every event except rejects and bans.
    normal: Vec<u8>,
    /// `<PRI>1 ` of rejects and bans: at least notice.
    notice: Vec<u8>,
    /// ` HOSTNAME APP-NAME PROCID `.
    origin: Vec<u8>,
}

impl SyslogHeader {
    pub(super) fn new(syslog: &Syslog) -> Self {
        // RFC 5424, 6.2.1.
        let start = |severity| format!("<{}>1 ", syslog.facility * 8 + severity).into_bytes();
        let host = rustix::system::uname();
        let host = host_name(host.nodename().to_str().unwrap_or_default());
        let origin = format!(" {host} {} {} ", syslog.app_name, std::process::id());
        Self {
            normal: start(syslog.severity),
            notice: start(syslog.severity.min(SEVERITY_NOTICE)),
            origin: origin.into_bytes(),
        }
    }

    pub(super) fn write(&self, event: Event, stamp: &Timestamp, out: &mut Vec<u8>) {
        let is_notice = matches!(event, Event::Reject | Event::Ban);
        out.extend_from_slice(if is_notice { &self.notice } else { &self.normal });
        out.extend_from_slice(stamp.rfc3339().as_bytes());
        out.extend_from_slice(&self.origin);
        out.extend_from_slice(event.as_str().as_bytes());
        out.extend_from_slice(b" - ");
    }
}

/// HOSTNAME: 1 to 255 printable characters of ASCII, or `-` (RFC 5424, 6 and 6.2.4).
fn host_name(name: &str) -> &str {
    let is_valid = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if is_valid { name } else { "-" }
}
