//! A look at all sessions of a worker, a chunk in each turn, which does not keep it from its clients.

use std::{ops::ControlFlow, time::Instant};

use super::{
    active::ActiveSession,
    context::WorkerContext,
    table::{Chunk, LOOK},
};

/// The time is over, and sessions from this slot on have not been looked at.
#[derive(Debug)]
pub(in crate::session) struct Late(pub(in crate::session) usize);

/// What `find` has to say of each session, which it is given with its slot. Sessions that come and
/// go meanwhile may be missed.
pub(in crate::session) async fn scan<T>(
    context: &WorkerContext,
    mut find: impl FnMut(usize, &ActiveSession) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    walk(context, |slot, live| {
        found.extend(find(slot, live));
        LOOK
    })
    .await;
    found
}

/// Does something with each session, and tells what that cost. Sessions that come and go meanwhile
/// may be missed.
pub(in crate::session) async fn walk(
    context: &WorkerContext,
    mut act: impl FnMut(usize, &ActiveSession) -> u32,
) {
    let act = |slot, live: &ActiveSession| ControlFlow::<(), u32>::Continue(act(slot, live));
    let _ = chunks(context, 0, None, act).await;
}

/// Visits sessions from a slot on, until `look` returns something or the time is over. Those that
/// come and go meanwhile may be missed.
pub(in crate::session) async fn visit<T>(
    context: &WorkerContext,
    from: usize,
    until: Option<Instant>,
    mut look: impl FnMut(usize, &ActiveSession) -> Option<T>,
) -> Result<Option<T>, Late> {
    let look = |slot, live: &ActiveSession| match look(slot, live) {
        Some(found) => ControlFlow::Break(found),
        None => ControlFlow::Continue(LOOK),
    };
    chunks(context, from, until, look).await
}

async fn chunks<T>(
    context: &WorkerContext,
    mut from: usize,
    until: Option<Instant>,
    mut look: impl FnMut(usize, &ActiveSession) -> ControlFlow<T, u32>,
) -> Result<Option<T>, Late> {
    loop {
        context.reactor.turn.walks.turn().await;
        match context.sessions.chunk(from, &mut look) {
            Chunk::Found(found) => return Ok(Some(found)),
            Chunk::Over => return Ok(None),
            Chunk::Next(slot) => from = slot,
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Late(from));
        }
    }
}
