//! Walks over all sessions of a worker, one step per turn, so that clients do not have to wait.
//!
//! Sessions that begin or end during a walk may be missed.

use std::{ops::ControlFlow, time::Instant};

use super::{
    active::ActiveSession,
    context::WorkerContext,
    table::{VISIT_COST, WalkStep},
};

/// The time ran out before the session in this slot was visited.
#[derive(Debug)]
pub(crate) struct OutOfTime {
    pub(crate) next_slot: usize,
}

/// Calls `act` with each session; `act` returns the cost of the call.
pub(crate) async fn walk(context: &WorkerContext, mut act: impl FnMut(&ActiveSession) -> u32) {
    let act = |session: &ActiveSession| ControlFlow::<(), u32>::Continue(act(session));
    let _ = walk_steps(context, 0, None, act).await;
}

/// Calls `look` with the sessions from a slot on, until it returns a value or the time runs out.
pub(crate) async fn find<T>(
    context: &WorkerContext,
    from: usize,
    until: Instant,
    mut look: impl FnMut(&ActiveSession) -> Option<T>,
) -> Result<Option<T>, OutOfTime> {
    let look = |session: &ActiveSession| match look(session) {
        Some(found) => ControlFlow::Break(found),
        None => ControlFlow::Continue(VISIT_COST),
    };
    walk_steps(context, from, Some(until), look).await
}

async fn walk_steps<T>(
    context: &WorkerContext,
    mut from: usize,
    until: Option<Instant>,
    mut look: impl FnMut(&ActiveSession) -> ControlFlow<T, u32>,
) -> Result<Option<T>, OutOfTime> {
    loop {
        context.reactor.turn.walks.turn().await;
        match context.sessions.walk_step(from, &mut look) {
            WalkStep::Found(found) => return Ok(Some(found)),
            WalkStep::Done => return Ok(None),
            WalkStep::Next(slot) => from = slot,
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(OutOfTime { next_slot: from });
        }
    }
}
