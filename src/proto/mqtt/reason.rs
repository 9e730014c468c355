//! The codes of CONNACK and DISCONNECT: their names, and those that this proxy sends itself.

use std::ops::Deref;

use super::version::Version;

/// The stable name of a CONNACK's return code (3.1.1 table 3.1) or reason code (5.0 table 3-1), for
/// logs and metrics; "unknown" for any other.
pub const fn name(version: Version, code: u8) -> &'static str {
    match (version, code) {
        (Version::V5, 0x00) => "success",
        (_, 0x00) => "accepted",
        // A broker that does not support 5.0 answers a 5.0 client with a code of 3.1.1. 5.0 itself
        // does not use these.
        (_, 0x01) => "unacceptable_protocol_version",
        (_, 0x02) => "identifier_rejected",
        (_, 0x03) | (Version::V5, 0x88) => "server_unavailable",
        (_, 0x04) | (Version::V5, 0x86) => "bad_username_or_password",
        (_, 0x05) | (Version::V5, 0x87) => "not_authorized",
        (Version::V5, 0x84) => "unsupported_protocol_version",
        (Version::V5, 0x85) => "client_identifier_not_valid",
        (Version::V5, 0x8A) => "banned",
        (Version::V5, code) => shared_name(code),
        _ => "unknown",
    }
}

/// Whether a CONNACK with this code refuses the client's username, password or right to connect. A
/// broker without 5.0 answers a 5.0 client with the codes of 3.1.1.
pub const fn is_bad_credentials(version: Version, code: u8) -> bool {
    matches!((version, code), (_, 0x04 | 0x05) | (Version::V5, 0x86 | 0x87))
}

/// The stable name of a DISCONNECT's reason code (5.0 table 3-10), for logs; "unknown" for any
/// other. 3.x has no codes, and ends normally with this packet.
pub const fn disconnect_name(code: u8) -> &'static str {
    match code {
        0x00 => "normal_disconnection",
        0x04 => "disconnect_with_will_message",
        0x87 => "not_authorized",
        0x8B => "server_shutting_down",
        0x8D => "keep_alive_timeout",
        0x8E => "session_taken_over",
        0x8F => "topic_filter_invalid",
        0x93 => "receive_maximum_exceeded",
        0x94 => "topic_alias_invalid",
        0x96 => "message_rate_too_high",
        0x98 => "administrative_action",
        0x9E => "shared_subscriptions_not_supported",
        0xA0 => "maximum_connect_time",
        0xA1 => "subscription_identifiers_not_supported",
        0xA2 => "wildcard_subscriptions_not_supported",
        _ => shared_name(code),
    }
}

/// The reason codes that CONNACK and DISCONNECT have in common. (0x8C is missing from 5.0 table
/// 3-10, but table 2-6 allows it in a DISCONNECT, which ends a failed re-authentication.)
const fn shared_name(code: u8) -> &'static str {
    match code {
        0x80 => "unspecified_error",
        0x81 => "malformed_packet",
        0x82 => "protocol_error",
        0x83 => "implementation_specific_error",
        0x89 => "server_busy",
        0x8C => "bad_authentication_method",
        0x90 => "topic_name_invalid",
        0x95 => "packet_too_large",
        0x97 => "quota_exceeded",
        0x99 => "payload_format_invalid",
        0x9A => "retain_not_supported",
        0x9B => "qos_not_supported",
        0x9C => "use_another_server",
        0x9D => "server_moved",
        0x9F => "connection_rate_exceeded",
        _ => "unknown",
    }
}

/// Why this proxy rejects a client whose CONNECT conforms. (One that does not is an
/// [`InvalidConnect`](super::InvalidConnect).)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    ServerUnavailable,
    ServerBusy,
    QuotaExceeded,
    ConnectionRateExceeded,
    IdentifierRejected,
    NotAuthorized,
    BadCredentials,
    Banned,
    UseAnotherServer,
}

impl RejectReason {
    /// The CONNACK with this reason, in the client's version.
    pub const fn connack(self, version: Version) -> ConnackPacket {
        ConnackPacket::new(version, self.code(version))
    }

    /// The code in that CONNACK. 3.x has a single code, 3, for all kinds of overload.
    pub const fn code(self, version: Version) -> u8 {
        let (v3, v5) = match self {
            Self::ServerUnavailable => (0x03, 0x88),
            Self::ServerBusy => (0x03, 0x89),
            Self::QuotaExceeded => (0x03, 0x97),
            Self::ConnectionRateExceeded => (0x03, 0x9F),
            Self::IdentifierRejected => (0x02, 0x85),
            Self::NotAuthorized => (0x05, 0x87),
            Self::BadCredentials => (0x04, 0x86),
            // 3.x has no code for it.
            Self::Banned => (0x05, 0x8A),
            Self::UseAnotherServer => (0x03, 0x9C),
        };
        match version {
            Version::V31 | Version::V311 => v3,
            Version::V5 => v5,
        }
    }
}

/// Why this proxy ends a session of 5.0: the reason code of a DISCONNECT (5.0 §3.14.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DisconnectReason {
    NotAuthorized = 0x87,
    ServerShuttingDown = 0x8B,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    AdministrativeAction = 0x98,
    UseAnotherServer = 0x9C,
}

impl DisconnectReason {
    /// A DISCONNECT with a body of one byte, the reason code: properties may be omitted then (5.0
    /// §3.14.2.2.1).
    pub const fn packet(self) -> [u8; 3] {
        [0xE0, 1, self as u8]
    }
}

/// The bytes of a CONNACK without session and without properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnackPacket {
    bytes: [u8; 5],
    len: u8,
}

impl ConnackPacket {
    pub(super) const fn new(version: Version, code: u8) -> Self {
        match version {
            // 3.1.1 §3.2: type 2, two bytes remaining: no session present, return code.
            Version::V31 | Version::V311 => Self { bytes: [0x20, 2, 0, code, 0], len: 4 },
            // 5.0 §3.2: one byte more, a property length of zero.
            Version::V5 => Self { bytes: [0x20, 3, 0, code, 0], len: 5 },
        }
    }

    /// The return code (3.x) or reason code (5.0): the fourth byte, in every version.
    pub const fn code(&self) -> u8 {
        self.bytes[3]
    }

    /// The version whose form and codes the packet has; those of 3.1 and 3.1.1 are the same.
    pub const fn version(&self) -> Version {
        if self.len == 4 { Version::V311 } else { Version::V5 }
    }
}

impl Deref for ConnackPacket {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
