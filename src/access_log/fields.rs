//! The fields of a line: the variables of a template, and the order of JSON.

use super::{entry::Entry, value::LogValue};
use crate::{proto::mqtt::reason, timestamp::Timestamp};

/// The names of the fields, in the order they are written.
pub fn field_names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// One field: its name, and how its value is read from an entry.
pub(super) struct LogField {
    pub(super) name: &'static str,
    pub(super) value: FieldValue,
}

pub(super) type FieldValue = for<'e> fn(&'e Entry<'e>, &'e Timestamp) -> Option<LogValue<'e>>;

/// Generates a table for templates, and straight-line code for JSON, in which the compiler knows
/// the kind of each value and the length of each key.
macro_rules! fields {
    ($($name:literal, $value:expr;)+) => {
        pub(super) const FIELDS: &[LogField] = &[$(LogField { name: $name, value: $value },)+];

        /// Appends `,"name":value` for each field that is known.
        pub(super) fn write_members(entry: &Entry<'_>, stamp: &Timestamp, out: &mut Vec<u8>) {
            $({
                const VALUE: FieldValue = $value;
                if let Some(value) = VALUE(entry, stamp) {
                    out.extend_from_slice(concat!(",\"", $name, "\":").as_bytes());
                    value.write_json(out);
                }
            })+
        }
    };
}

// All fields: the order in JSON, and the variables of templates.
fields! {
    "time", |_, stamp| Some(LogValue::Name(stamp.rfc3339()));
    "event", |e, _| Some(LogValue::Name(e.event.as_str()));
    "session", |e, _| e.session.map(LogValue::Id);
    "listener", |e, _| e.listener.map(LogValue::Text);
    "transport", |e, _| e.transport.map(|t| LogValue::Name(t.as_str()));
    "client", |e, _| e.client.map(LogValue::Address);
    "peer", |e, _| e.peer.map(LogValue::Address);
    "proxy_tlvs", |e, _| e.proxy_tlvs.map(LogValue::ProxyTlvs);
    "tls_version", |e, _| e.tls_version.map(LogValue::Text);
    "tls_cipher", |e, _| e.tls_cipher.map(LogValue::Text);
    "sni", |e, _| e.sni.map(LogValue::Text);
    "tls_cn", |e, _| e.tls_cn.map(LogValue::Text);
    "tls_san", |e, _| e.tls_san.map(LogValue::AlternativeNames);
    "tls_serial", |e, _| e.tls_serial.map(LogValue::Text);
    "tls_fingerprint", |e, _| e.tls_fingerprint.map(LogValue::Text);
    "path", |e, _| e.path.map(LogValue::Text);
    "protocol_name", |e, _| e.protocol_name.map(LogValue::Name);
    "protocol_version", |e, _| e.protocol_version.map(number);
    "bridge", |e, _| e.bridge.map(LogValue::Flag);
    "client_id", |e, _| e.client_id.map(LogValue::Text);
    "broker_client_id", |e, _| e.broker_client_id.map(LogValue::Text);
    "assigned_client_id", |e, _| e.assigned_client_id.map(LogValue::Text);
    "username", |e, _| e.username.map(LogValue::Text);
    "jwt_sub", |e, _| e.jwt_sub.map(LogValue::Text);
    "has_password", |e, _| e.has_password.map(LogValue::Flag);
    "clean_start", |e, _| e.clean_start.map(LogValue::Flag);
    "keepalive", |e, _| e.keepalive.map(number);
    "will", |e, _| e.will.map(LogValue::Flag);
    "session_expiry", |e, _| e.session_expiry.map(number);
    "connect_malformed", |e, _| e.connect_malformed.map(LogValue::Text);
    "pool", |e, _| e.pool.map(LogValue::Text);
    "rule", |e, _| e.rule.map(LogValue::Text);
    "upstream", |e, _| e.upstream.map(LogValue::Text);
    "upstream_address", |e, _| e.upstream_address.map(LogValue::Dialled);
    "route", |e, _| e.route.map(|r| LogValue::Name(r.as_str()));
    "tries", |e, _| e.tries.map(number);
    "connack", |e, _| e.connack.map(number);
    "connack_reason", |e, _| e.connack_reason.map(LogValue::Name);
    "connack_malformed", |e, _| e.connack_malformed.map(LogValue::Text);
    "session_present", |e, _| e.session_present.map(LogValue::Flag);
    "handshake_ms", |e, _| e.handshake_ms.map(LogValue::Millis);
    "queue_ms", |e, _| e.queue_ms.map(LogValue::Millis);
    "dial_ms", |e, _| e.dial_ms.map(LogValue::Millis);
    "connack_ms", |e, _| e.connack_ms.map(LogValue::Millis);
    "duration_ms", |e, _| e.duration_ms.map(LogValue::Millis);
    "bytes_in", |e, _| e.bytes_in.map(number);
    "bytes_out", |e, _| e.bytes_out.map(number);
    "client_disconnect", |e, _| e.client_disconnect.map(number);
    "client_disconnect_reason", |e, _| e.client_disconnect.map(disconnect_reason);
    "broker_disconnect", |e, _| e.broker_disconnect.map(number);
    "broker_disconnect_reason", |e, _| e.broker_disconnect.map(disconnect_reason);
    "ban_kind", |e, _| e.ban.as_ref().map(|b| LogValue::Name(b.kind.as_str()));
    "ban_value", |e, _| e.ban.as_ref().map(|b| LogValue::Text(&b.value));
    "ban_until", |e, _| e.ban.as_ref().map(|b| LogValue::Name(b.until));
    "ban_reason", |e, _| e.ban.as_ref().map(|b| LogValue::Name(b.reason.as_str()));
    "end_by", |e, _| e.end_by.map(|by| LogValue::Name(by.as_str()));
    "end_phase", |e, _| e.end_phase.map(|p| LogValue::Name(p.as_str()));
    "end_cause", |e, _| e.end_cause.map(|c| LogValue::Name(c.as_str()));
    "detail", |e, _| e.detail.map(LogValue::Text);
}

fn disconnect_reason<'e>(code: u8) -> LogValue<'e> {
    LogValue::Name(reason::disconnect_name(code))
}

fn number<'e>(number: impl Into<u64>) -> LogValue<'e> {
    LogValue::Number(number.into())
}
