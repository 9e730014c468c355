//! A session as the API shows it.

use crate::{api, session::SessionInfo, timestamp::rfc3339};

pub(super) fn session(seen: SessionInfo) -> api::Session {
    let certificate = seen.certificate.map(|certificate| *certificate).unwrap_or_default();
    api::Session {
        id: format!("{:016x}", seen.session_id),
        client_id: seen.client_id,
        broker_client_id: seen.broker_client_id,
        assigned_client_id: seen.assigned_client_id,
        username: seen.username,
        listener: seen.listener,
        transport: seen.transport.as_str().into(),
        client: seen.client,
        sni: seen.sni,
        tls_san: certificate.alternative_names().collect(),
        tls_cn: certificate.common_name,
        tls_serial: certificate.serial,
        tls_fingerprint: certificate.fingerprint,
        protocol_version: seen.protocol_version,
        pool: seen.pool,
        upstream: seen.upstream,
        connected_at: rfc3339(seen.connected_at),
        duration_s: seen.duration.as_secs_f64(),
        keepalive: seen.keep_alive,
        clean_start: seen.clean_start,
        bytes_in: seen.bytes_in,
        bytes_out: seen.bytes_out,
    }
}
