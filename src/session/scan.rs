//! A look at all sessions of a worker, a chunk in each turn, which does not keep it from its clients.

use std::{ops::ControlFlow, time::Instant};

use super::{
    active::Live,
    context::Shard,
    table::{Chunk, LOOK},
};

/// The time is over, and sessions from this slot on have not been looked at.
#[derive(Debug)]
pub(in crate::session) struct Late(pub(in crate::session) usize);

/// What `find` has to say of each session, which it is given with its slot. Sessions that come and
/// go meanwhile may be missed.
pub(in crate::session) async fn scan<T>(
    shard: &Shard,
    mut find: impl FnMut(usize, &Live) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    walk(shard, |slot, live| {
        found.extend(find(slot, live));
        LOOK
    })
    .await;
    found
}

/// Does something with each session, and tells what that cost. Sessions that come and go meanwhile
/// may be missed.
pub(in crate::session) async fn walk(shard: &Shard, mut act: impl FnMut(usize, &Live) -> u32) {
    let act = |slot, live: &Live| ControlFlow::<(), u32>::Continue(act(slot, live));
    let _ = chunks(shard, 0, None, act).await;
}

/// Visits sessions from a slot on, until `look` returns something or the time is over. Those that
/// come and go meanwhile may be missed.
pub(in crate::session) async fn visit<T>(
    shard: &Shard,
    from: usize,
    until: Option<Instant>,
    mut look: impl FnMut(usize, &Live) -> Option<T>,
) -> Result<Option<T>, Late> {
    let look = |slot, live: &Live| match look(slot, live) {
        Some(found) => ControlFlow::Break(found),
        None => ControlFlow::Continue(LOOK),
    };
    chunks(shard, from, until, look).await
}

async fn chunks<T>(
    shard: &Shard,
    mut from: usize,
    until: Option<Instant>,
    mut look: impl FnMut(usize, &Live) -> ControlFlow<T, u32>,
) -> Result<Option<T>, Late> {
    loop {
        shard.reactor.turn.walks.turn().await;
        match shard.sessions.chunk(from, &mut look) {
            Chunk::Found(found) => return Ok(Some(found)),
            Chunk::Over => return Ok(None),
            Chunk::Next(slot) => from = slot,
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Late(from));
        }
    }
}
