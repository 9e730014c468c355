//! The log entries made from a record.

use std::time::Duration;

use super::Record;
use crate::{access_log::Entry, labels::Event, proto::mqtt::reason};

impl Record {
    /// The entry of an event, with what is known now.
    pub(super) fn entry(&self, event: Event) -> Entry<'_> {
        let listener = &self.listener;
        let now = self.recorder.reactor.wall_clock();
        let transport = self.transport_kind();
        let mut entry = Entry::new(now, event, self.session_id, &listener.name, transport);
        self.add_transport(&mut entry);
        if let Some(client) = &self.client {
            entry.protocol_name = Some(client.version.protocol_name());
            entry.protocol_version = Some(client.version.level());
            entry.bridge = Some(client.bridge);
            if let Some((client_id, username)) = self.sent_names() {
                entry.client_id = Some(client_id);
                entry.username = username;
                let for_broker = client.client_id();
                entry.broker_client_id = (for_broker != client_id).then_some(for_broker);
            }
            entry.assigned_client_id = self.assigned_client_id();
            let facts = self.identity.as_ref();
            entry.jwt_sub = facts.and_then(|facts| facts.subject());
            entry.connect_malformed = facts.and_then(|facts| facts.violation.as_deref());
            entry.has_password = Some(client.has_password);
            entry.clean_start = Some(client.clean_start);
            entry.keepalive = Some(client.keep_alive);
            entry.will = Some(client.will);
            entry.session_expiry = client.session_expiry;
        }
        // The pool is that of a client that has said who it is.
        if self.handshake.is_some() {
            entry.pool = Some(&self.listener.pool.pool.name);
            entry.rule = listener.rule.as_deref();
        }
        if let Some(route) = &self.route {
            entry.upstream = Some(&route.endpoint.name);
            entry.upstream_address = route.address();
            entry.route = Some(route.kind);
            entry.dial_ms = Some(route.dial.into());
        }
        entry.tries = (self.tries > 0).then_some(self.tries.into());
        if let Some(connack) = &self.connack {
            entry.connack = Some(connack.code);
            entry.connack_reason = Some(reason::name(connack.version, connack.code));
            entry.connack_malformed = connack.malformed();
            entry.session_present = connack.session_present;
            entry.connack_ms = connack.waited.map(Duration::from);
        }
        entry.client_disconnect = self.client_disconnect.get();
        entry.broker_disconnect = self.broker_disconnect.get();
        entry.queue_ms = self.queued.map(Duration::from);
        entry.handshake_ms = self.handshake.map(Duration::from);
        entry
    }
    /// Adds what is known about the connection below MQTT.
    fn add_transport<'a>(&'a self, entry: &mut Entry<'a>) {
        entry.client = self.source.address();
        if let Some(transport) = &self.transport {
            entry.peer = transport.peer;
        }
        if let Some(tls) = self.tls() {
            entry.tls_version = tls.version.as_deref();
            entry.tls_cipher = tls.cipher.as_deref();
            entry.sni = tls.sni.as_deref().or(tls.ignored_sni.as_deref());
            entry.tls_cn = tls.common_name();
            if let Some(certificate) = &tls.certificate {
                entry.tls_san = certificate.has_alternative_names().then_some(certificate);
                entry.tls_serial = certificate.serial.as_deref();
                entry.tls_fingerprint = certificate.fingerprint.as_deref();
            }
        }
        entry.proxy_tlvs = self.proxy_tlvs();
        entry.path = self.path();
    }
}
