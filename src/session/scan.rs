//! A look at all sessions of a worker, which does not keep it from its clients.

use std::time::Instant;

use tokio::task::yield_now;

use super::{live::Live, shard::Shard};

/// Sessions looked at before the worker turns to others: some 100 µs of work.
const AT_A_TIME: usize = 512;

/// The time is over, and sessions from this slot on have not been looked at.
#[derive(Debug)]
pub(super) struct Late(pub(super) usize);

/// What `find` has to say of each session, which it is given with its slot. Sessions that come and
/// go meanwhile may be missed.
pub(super) async fn scan<T>(
    shard: &Shard,
    mut find: impl FnMut(usize, &Live) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    let _ = visit(shard, 0, None, |slot, live| {
        found.extend(find(slot, live));
        None::<()>
    })
    .await;
    found
}

/// Visits sessions from a slot on, until `look` returns something or the time is over. Those that
/// come and go meanwhile may be missed.
pub(super) async fn visit<T>(
    shard: &Shard,
    mut from: usize,
    until: Option<Instant>,
    mut look: impl FnMut(usize, &Live) -> Option<T>,
) -> Result<Option<T>, Late> {
    loop {
        {
            let sessions = shard.sessions.borrow();
            let to = sessions.capacity().min(from.saturating_add(AT_A_TIME));
            for slot in from..to {
                let found = sessions.get(slot).and_then(|live| look(slot, live));
                if found.is_some() {
                    return Ok(found);
                }
            }
            if to >= sessions.capacity() {
                return Ok(None);
            }
            from = to;
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Late(from));
        }
        yield_now().await;
    }
}
