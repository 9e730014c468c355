//! A session as JSON shows it.

use std::{net::SocketAddr, sync::Arc};

use serde::Serialize;

use crate::{session::SessionInfo, timestamp::rfc3339};

#[derive(Serialize)]
pub(super) struct Session {
    id: String,
    client_id: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assigned_client_id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<Box<str>>,
    listener: Arc<str>,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SocketAddr>,
    protocol_version: u8,
    pool: Arc<str>,
    upstream: Arc<str>,
    connected_at: String,
    duration_s: f64,
    keepalive: u16,
    clean_start: bool,
    bytes_in: u64,
    bytes_out: u64,
}

impl From<SessionInfo> for Session {
    fn from(seen: SessionInfo) -> Self {
        Self {
            id: format!("{:016x}", seen.session_id),
            client_id: seen.client_id,
            assigned_client_id: seen.assigned_client_id,
            username: seen.username,
            listener: seen.listener,
            transport: seen.transport.as_str(),
            client: seen.client,
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
}
