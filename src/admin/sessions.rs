//! `/api/v1/sessions`: who is connected, where, and how to end that.

use std::sync::Arc;

use hyper::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;

use super::{
    AdminState,
    answer::{Answer, Refusal, content, json},
    request::Query,
    served::Served,
    session_page,
    session_view::Session,
};
use crate::{
    labels::EndCause,
    session::{Cursor, Filter, QUERY_TIMEOUT, SessionInfo},
};

/// All sessions of a client ID.
#[derive(Serialize)]
struct Sessions {
    sessions: Vec<Session>,
}

/// The sessions on a page: as many as a person reads, and as many as take a worker no time.
const USUAL: usize = 100;
const MOST: usize = 1000;

const PARAMETERS: [&str; 7] =
    ["client_id", "username", "upstream", "listener", "pool", "limit", "cursor"];

pub(super) async fn get(served: &Arc<Served>, query: Option<&str>) -> Result<Answer, Refusal> {
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
    let filter = Arc::new(Filter {
        client_id: text("client_id"),
        username: text("username"),
        upstream: text("upstream"),
        listener: text("listener"),
        pool: text("pool"),
    });
    let room = served.budget.room().await?;
    let found = match cursor {
        None => of_client(&served.state, &filter, limit).await?,
        Some(_) => None,
    };
    if let Some(sessions) = found.filter(|found| !found.is_empty()) {
        let sessions = sessions.into_iter().map(Session::from).collect();
        return Ok(json(&Sessions { sessions }));
    }
    // Nothing tells where they are, such as for clients whose ID the broker made up.
    session_page::answer(served, room, filter, cursor.unwrap_or_default(), limit).await
}

/// The sessions that are meant, with a client ID that is given, the newest of each pool first; `None`
/// where no ID is given, or more than `limit` have it, or they have long usernames.
async fn of_client(
    state: &AdminState,
    filter: &Arc<Filter>,
    limit: usize,
) -> Result<Option<Vec<SessionInfo>>, Refusal> {
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

/// The sessions with a client ID, as many as one page has.
pub(super) async fn with_client_id(
    state: &AdminState,
    client_id: &str,
) -> Result<Vec<SessionInfo>, Refusal> {
    let filter = Filter { client_id: Some(client_id.to_owned()), ..Filter::default() };
    let filter = Arc::new(filter);
    match of_client(state, &filter, MOST).await? {
        Some(found) => Ok(found),
        None if client_id.is_empty() => Ok(Vec::new()),
        None => {
            let page = state.sessions.page(&filter, Cursor::default(), MOST, QUERY_TIMEOUT).await;
            Ok(page?.sessions)
        }
    }
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
    if !state.sessions.end(session, EndCause::Kicked).await? {
        return Err(not_found());
    }
    tracing::info!(session = %id, "ended by the operator");
    let mut answer = content("", "");
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().remove(CONTENT_TYPE);
    Ok(answer)
}
