//! A look at all sessions of a worker, which does not keep it from its clients.

use std::rc::Rc;

use tokio::task::yield_now;

use super::{live::Live, shard::Shard};

/// Sessions looked at before the worker turns to others: some 100 µs of work.
const AT_A_TIME: usize = 512;

/// What `find` has to say of each session, which it is given with its slot. Sessions that come and
/// go meanwhile may be missed.
pub(super) async fn scan<T>(
    shard: &Shard,
    mut find: impl FnMut(usize, &Rc<Live>) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        {
            let sessions = shard.sessions.borrow();
            let to = sessions.capacity().min(from + AT_A_TIME);
            let some = (from..to).filter_map(|slot| Some((slot, sessions.get(slot)?)));
            found.extend(some.filter_map(|(slot, live)| find(slot, live)));
            from = to;
            if from >= sessions.capacity() {
                return found;
            }
        }
        yield_now().await;
    }
}
