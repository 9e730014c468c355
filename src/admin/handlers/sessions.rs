//! `/api/v1/sessions`: the established sessions, and how to end one.

use std::sync::Arc;

use super::{context::AdminContext, session_page, session_view::session};
use crate::{
    admin::{
        request::Query,
        response::{ErrorResponse, HttpResponse, json, no_content},
        state::AdminState,
    },
    api,
    labels::EndCause,
    session::{Cursor, Filter, QUERY_TIMEOUT, SessionInfo},
};

/// The default number of sessions on a page: as many as a person reads.
const DEFAULT_LIMIT: usize = 100;
/// The most sessions on a page: as many as a worker finds without delaying its clients.
const MAX_LIMIT: usize = 1000;

const PARAMETERS: [&str; 9] =
    ["client_id", "username", "sni", "source", "upstream", "listener", "pool", "limit", "cursor"];

pub(in crate::admin) async fn get(
    context: &Arc<AdminContext>,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse(query, &PARAMETERS)?;
    let limit = query.parsed("limit", "a whole number from 1 to 1000")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let error =
            format!("invalid `limit` {limit}; allowed: a whole number from 1 to {MAX_LIMIT}");
        return Err(ErrorResponse::bad_request(error));
    }
    let cursor = match query.text("cursor") {
        Some(text) => Some(Cursor::decode(text).ok_or_else(|| {
            ErrorResponse::bad_request("invalid `cursor`: pass `next` from the previous response")
        })?),
        None => None,
    };
    let text = |name| query.text(name).map(str::to_owned);
    let filter = Arc::new(Filter {
        client_id: text("client_id"),
        username: text("username"),
        sni: text("sni"),
        source: query.parsed("source", "an IP address")?,
        upstream: text("upstream"),
        listener: text("listener"),
        pool: text("pool"),
    });
    let reservation = context.budget.reserve_chunk().await?;
    let found = match cursor {
        None => of_client(&context.state, &filter, limit).await?,
        Some(_) => None,
    };
    if let Some(sessions) = found.filter(|found| !found.is_empty()) {
        let sessions = sessions.into_iter().map(session).collect();
        return Ok(json(&api::Sessions { sessions, next: None }));
    }
    // The directory does not list them, for example because the broker assigned their client IDs.
    session_page::response(context, reservation, filter, cursor.unwrap_or_default(), limit).await
}

/// The sessions that match, found by their client ID, the newest of each pool first. `None` if the
/// filter has no client ID, more than `limit` sessions match, or they have long usernames.
async fn of_client(
    state: &AdminState,
    filter: &Arc<Filter>,
    limit: usize,
) -> Result<Option<Vec<SessionInfo>>, ErrorResponse> {
    let Some(client_id) = filter.client_id.as_deref().filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let mut found = Vec::new();
    let snapshot = state.snapshot.load_full();
    for pool in snapshot.all_pools() {
        let seen = state.sessions.of_client(pool.id(), client_id, filter, limit).await;
        let Some(seen) = seen? else { return Ok(None) };
        found.extend(seen);
    }
    Ok(Some(found).filter(|found| found.len() <= limit))
}

/// The sessions with a client ID, at most [`MAX_LIMIT`].
pub(super) async fn with_client_id(
    state: &AdminState,
    client_id: &str,
) -> Result<Vec<SessionInfo>, ErrorResponse> {
    let filter = Filter { client_id: Some(client_id.to_owned()), ..Filter::default() };
    let filter = Arc::new(filter);
    match of_client(state, &filter, MAX_LIMIT).await? {
        Some(found) if !found.is_empty() || !rewrites_ids(state) => Ok(found),
        None if client_id.is_empty() => Ok(Vec::new()),
        // The directory has sessions by the IDs that their brokers were sent.
        Some(_) | None => {
            let page =
                state.sessions.page(&filter, Cursor::default(), MAX_LIMIT, QUERY_TIMEOUT).await;
            Ok(page?.sessions)
        }
    }
}

/// Whether brokers are sent other client IDs than clients send.
fn rewrites_ids(state: &AdminState) -> bool {
    let snapshot = state.snapshot.load();
    let mut rewrites =
        snapshot.config.listeners.iter().filter_map(|one| one.identity.rewrite.as_ref());
    rewrites.any(|rewrite| rewrite.client_id.is_some())
}

pub(in crate::admin) async fn delete(
    state: &AdminState,
    query: Option<&str>,
    id: &str,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let not_found = || ErrorResponse::not_found(format!("no session {id}"));
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let session = u64::from_str_radix(id, 16).ok().filter(|_| is_id).ok_or_else(not_found)?;
    if !state.sessions.end(session, EndCause::Kicked).await? {
        return Err(not_found());
    }
    tracing::info!(session = %id, "ended by the operator");
    Ok(no_content())
}
