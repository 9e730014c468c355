//! A page of sessions as JSON, made as it is read: a thousand sessions can have 800 MB of it.

use std::{mem, sync::Arc, time::Duration};

use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    answer::{Answer, Refusal, content_of},
    body::{Body, Part},
    budget::Room,
    served::Served,
    session_view::session,
};
use crate::session::{Cursor, Filter, LOOK};

/// Sessions in a part, at most.
const AT_ONCE: usize = 250;

/// What of a page is still to be made.
struct Rest {
    filter: Arc<Filter>,
    from: Cursor,
    sessions: usize,
    time: Duration,
    /// What goes before all, until it is written.
    opening: &'static str,
    /// What goes before the next session.
    separator: &'static str,
}

/// At most `limit` sessions, from a place on. `room` is for the first part.
pub(super) async fn answer(
    served: &Arc<Served>,
    room: Room,
    filter: Arc<Filter>,
    from: Cursor,
    limit: usize,
) -> Result<Answer, Refusal> {
    let (opening, separator) = ("{\"sessions\":[", "");
    let mut rest = Rest { filter, from, sessions: limit, time: LOOK, opening, separator };
    let first = rest.part(served, room).await?;
    let body = if first.is_last {
        Body::counted(first.bytes)
    } else {
        let (maker, body) = Body::parts();
        tokio::spawn(make(served.clone(), rest, first, maker));
        body
    };
    Ok(content_of(body, "application/json"))
}

/// Makes the parts until the last is made, the reader has left, or nothing more can be found out.
async fn make(served: Arc<Served>, mut rest: Rest, first: Part, maker: mpsc::Sender<Part>) {
    if maker.send(first).await.is_err() {
        return;
    }
    // The reader has taken the part before.
    while let Ok(place) = maker.reserve().await {
        let Ok(room) = served.budget.room().await else { return };
        let Ok(part) = rest.part(&served, room).await else { return };
        let is_last = part.is_last;
        place.send(part);
        if is_last {
            return;
        }
    }
}

impl Rest {
    async fn part(&mut self, served: &Served, room: Room) -> Result<Part, Refusal> {
        let most = self.sessions.min(AT_ONCE);
        let sessions = &served.state.sessions;
        let page = sessions.page(&self.filter, self.from, most, self.time).await?;
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
        Ok(Part { bytes: room.keep(json), is_last })
    }
}

fn put(json: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Refusal> {
    // Only a map whose keys are not strings can fail, and a session has no map.
    serde_json::to_writer(json, value).map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("an answer cannot be written: {error}"),
        )
    })
}
