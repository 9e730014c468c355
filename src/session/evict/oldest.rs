//! The oldest session in a queue that still has to end.

use crate::{
    labels::EndCause,
    session::{active::ActiveSession, by_age::SessionsByAge, table::SessionTable},
};

/// Queue entries checked in one call; most of them may be of sessions that have already ended.
const MAX_ENTRIES_CHECKED: usize = 512;

/// Drops entries until the first one is a session that is `wanted`, and returns whether it is.
/// False may also mean that [`MAX_ENTRIES_CHECKED`] was reached: no call may take long.
pub(crate) fn find_oldest(
    queue: &mut SessionsByAge,
    sessions: &SessionTable,
    wanted: impl Fn(&ActiveSession) -> bool,
) -> bool {
    for _ in 0..MAX_ENTRIES_CHECKED {
        let Some(oldest) = queue.oldest() else { return false };
        if sessions.with(oldest.slot, oldest.session_id, &wanted) == Some(true) {
            return true;
        }
        queue.pop();
    }
    false
}

/// Takes the first entry, and ends its session if that still exists.
pub(crate) fn end_oldest(
    queue: &mut SessionsByAge,
    sessions: &SessionTable,
    cause: impl Fn(&ActiveSession) -> EndCause,
) {
    if let Some(oldest) = queue.pop() {
        sessions.with(oldest.slot, oldest.session_id, |session| session.end(cause(session)));
    }
}
