//! `/api/v1/sessions`: who is connected, where, and how to end that.

use std::{net::SocketAddr, sync::Arc};

use hyper::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;

use super::{
    AdminState,
    answer::{Answer, Refusal, content, json},
    request::Query,
};
use crate::{
    observe::{EndCause, rfc3339},
    session::{Cursor, Filter, Page, Seen, Unanswered},
};

#[derive(Serialize)]
struct Sessions {
    sessions: Vec<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

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

/// The sessions on a page: as many as a person reads, and as many as take a worker no time.
const USUAL: usize = 100;
const MOST: usize = 1000;

const PARAMETERS: [&str; 7] =
    ["client_id", "username", "upstream", "listener", "pool", "limit", "cursor"];

pub(super) async fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    let query = Query::parse(query, &PARAMETERS)?;
    let limit = query.parsed("limit", "a whole number from 1 to 1000")?.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        let error = format!("`limit` is {limit}; allowed: a whole number from 1 to {MOST}");
        return Err(Refusal::bad_request(error));
    }
    let cursor = match query.text("cursor") {
        Some(text) => Some(Cursor::decode(text).ok_or_else(|| {
            Refusal::bad_request("`cursor` is none; allowed: `next` of an earlier answer")
        })?),
        None => None,
    };
    let text = |name| query.text(name).map(str::to_owned);
    let filter = Filter {
        client_id: text("client_id"),
        username: text("username"),
        upstream: text("upstream"),
        listener: text("listener"),
        pool: text("pool"),
    };
    let found = match cursor {
        None => of_client(state, &filter).await?,
        Some(_) => Vec::new(),
    };
    let page = if found.is_empty() || found.len() > limit {
        // Nothing tells where they are, such as for clients whose ID the broker made up.
        let from = cursor.unwrap_or_default();
        state.sessions.page(filter, from, limit).await.map_err(unanswered)?
    } else {
        Page { sessions: found, next: None }
    };
    let sessions = page.sessions.into_iter().map(Session::from).collect();
    Ok(json(&Sessions { sessions, next: page.next.map(Cursor::encode) }))
}

/// The sessions of the one client that is meant, the newest of each pool.
pub(super) async fn of_client(state: &AdminState, filter: &Filter) -> Result<Vec<Seen>, Refusal> {
    let mut found = Vec::new();
    let Some(client_id) = filter.client_id.as_deref().filter(|id| !id.is_empty()) else {
        return Ok(found);
    };
    let filter = Arc::new(filter.clone());
    let snapshot = state.snapshot.load_full();
    for pool in snapshot.all_pools() {
        let seen = state.sessions.of_client(pool.id(), client_id, &filter).await;
        found.extend(seen.map_err(unanswered)?);
    }
    Ok(found)
}

pub(super) async fn delete(
    state: &AdminState,
    query: Option<&str>,
    id: &str,
) -> Result<Answer, Refusal> {
    Query::parse(query, &[])?;
    let not_found = || Refusal::not_found(format!("no session {id}"));
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let session = u64::from_str_radix(id, 16).ok().filter(|_| is_id).ok_or_else(not_found)?;
    if !state.sessions.end(session, EndCause::Kicked).await.map_err(unanswered)? {
        return Err(not_found());
    }
    tracing::info!(session = %id, "ended by the operator");
    let mut answer = content("", "");
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().remove(CONTENT_TYPE);
    Ok(answer)
}

fn unanswered(why: Unanswered) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}

impl From<Seen> for Session {
    fn from(seen: Seen) -> Self {
        Self {
            id: format!("{:016x}", seen.session),
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
