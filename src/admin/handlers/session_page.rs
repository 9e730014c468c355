//! A page of sessions as JSON, produced as it is read: a thousand sessions can take 800 MB.

use std::{mem, sync::Arc, time::Duration};

use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{context::AdminContext, session_view::session};
use crate::{
    admin::{
        body::{ResponseBody, ResponseChunk},
        budget::Reservation,
        response::{ErrorResponse, HttpResponse, with_body},
    },
    session::{Cursor, Filter, QUERY_TIMEOUT},
};

/// The most sessions in a chunk.
const CHUNK_SESSIONS: usize = 250;

/// The part of a page that is not produced yet.
struct Remainder {
    filter: Arc<Filter>,
    from: Cursor,
    /// The most sessions that may follow.
    sessions: usize,
    /// How long workers may still search.
    time: Duration,
    /// The start of the JSON; empty once it is written.
    opening: &'static str,
    /// Written before the next session.
    separator: &'static str,
}

/// At most `limit` sessions, from a cursor on. `reservation` is for the first chunk.
pub(super) async fn response(
    context: &Arc<AdminContext>,
    reservation: Reservation,
    filter: Arc<Filter>,
    from: Cursor,
    limit: usize,
) -> Result<HttpResponse, ErrorResponse> {
    let (opening, separator) = ("{\"sessions\":[", "");
    let mut rest =
        Remainder { filter, from, sessions: limit, time: QUERY_TIMEOUT, opening, separator };
    let first = rest.chunk(context, reservation).await?;
    let body = if first.is_last {
        ResponseBody::counted(first.bytes)
    } else {
        let (producer, body) = ResponseBody::chunked();
        tokio::spawn(produce(context.clone(), rest, first, producer));
        body
    };
    Ok(with_body(body, "application/json"))
}

/// Produces chunks until the last one, or until the client disconnects, memory runs out or a worker
/// does not answer.
async fn produce(
    context: Arc<AdminContext>,
    mut rest: Remainder,
    first: ResponseChunk,
    producer: mpsc::Sender<ResponseChunk>,
) {
    if producer.send(first).await.is_err() {
        return;
    }
    // Ready once the previous chunk is taken.
    while let Ok(permit) = producer.reserve().await {
        let Ok(reservation) = context.budget.reserve_chunk().await else { return };
        let Ok(chunk) = rest.chunk(&context, reservation).await else { return };
        let is_last = chunk.is_last;
        permit.send(chunk);
        if is_last {
            return;
        }
    }
}

impl Remainder {
    async fn chunk(
        &mut self,
        context: &AdminContext,
        reservation: Reservation,
    ) -> Result<ResponseChunk, ErrorResponse> {
        let limit = self.sessions.min(CHUNK_SESSIONS);
        let sessions = &context.state.sessions;
        let page = sessions.page(&self.filter, self.from, limit, self.time).await?;
        self.time = self.time.saturating_sub(page.took);
        self.sessions -= page.sessions.len();
        let mut json = mem::take(&mut self.opening).as_bytes().to_vec();
        for seen in page.sessions {
            json.extend_from_slice(mem::replace(&mut self.separator, ",").as_bytes());
            put(&mut json, &session(seen))?;
        }
        let is_last = match page.next {
            Some(next) if self.sessions > 0 && self.time > Duration::ZERO => {
                self.from = next;
                false
            }
            next => {
                json.push(b']');
                if let Some(next) = next {
                    json.extend_from_slice(b",\"next\":");
                    put(&mut json, &next.encode())?;
                }
                json.push(b'}');
                true
            }
        };
        Ok(ResponseChunk { bytes: reservation.keep(json), is_last })
    }
}

fn put(json: &mut Vec<u8>, value: &impl Serialize) -> Result<(), ErrorResponse> {
    // Only a map whose keys are not strings fails, and a session has no map.
    serde_json::to_writer(json, value).map_err(|error| {
        let error = format!("cannot serialize the response: {error}");
        ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })
}
