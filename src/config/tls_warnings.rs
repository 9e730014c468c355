//! Warnings about TLS.

use super::{Config, Listener, TicketKeyFile, TlsFileWarning};
use crate::tls::HTTP_1_1;

/// Likely mistakes in the TLS of a listener, a sentence each.
pub(super) fn of_listener(listener: &Listener) -> Vec<String> {
    let files = listener.tls.iter().flat_map(|tls| &tls.file_warnings);
    let files = files.map(|TlsFileWarning { key, text }| {
        format!("tls.{key} of listener {}: {text}", listener.name)
    });
    refused_offers(listener).into_iter().chain(ticket_keys(listener)).chain(files).collect()
}

/// Likely mistakes in the TLS to brokers, a sentence each.
pub(super) fn of_pools(config: &Config) -> impl Iterator<Item = String> {
    config.pools.iter().flat_map(|pool| {
        let files = pool.tls.iter().flat_map(|tls| &tls.file_warnings);
        files.map(|TlsFileWarning { key, text }| format!("tls.{key} of pool {}: {text}", pool.name))
    })
}

/// TLS refuses clients that offer a protocol of MQTT, on a listener for both protocols.
fn refused_offers(listener: &Listener) -> Option<String> {
    let offers = listener.tls.as_ref()?.server.alpn();
    let is_http_only = !offers.is_empty() && offers.iter().all(|name| name == HTTP_1_1.as_bytes());
    let has_both = listener.mqtt && listener.websocket.is_some();
    (has_both && is_http_only).then(|| {
        format!(
            "tls.alpn of listener {} has only {HTTP_1_1}, so that clients of MQTT that offer a \
             protocol, such as mqtt, are refused: add mqtt, or remove alpn",
            listener.name
        )
    })
}

/// Others may read the ticket keys, or a rotation did not add a new one.
fn ticket_keys(listener: &Listener) -> Vec<String> {
    let keys = listener.tls.as_ref().and_then(|tls| tls.ticket_keys.as_ref());
    let Some(TicketKeyFile { path, is_world_readable, repeated_line }) = keys else {
        return Vec::new();
    };
    let (name, file) = (&listener.name, path.display());
    let readable = is_world_readable.then(|| {
        format!(
            "tls.ticket_keys of listener {name}: any user of this machine can read {file}, and with \
             it decrypt TLS 1.2 and impersonate clients: chmod o= {file}"
        )
    });
    let repeated = repeated_line.map(|line| {
        format!(
            "tls.ticket_keys of listener {name}: line {line} of {file} repeats an earlier key: \
             remove it, or replace it by a new one"
        )
    });
    readable.into_iter().chain(repeated).collect()
}
