//! Joining a thread, with a deadline.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The interval between checks of whether a thread has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Why a thread has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("did not end in time")]
    Late,
    #[error("panicked")]
    Panicked,
}

/// Waits for a thread until `deadline`, and returns its result. A thread that has not ended
/// continues to run, at most until the process ends.
pub(crate) fn join_by<T>(thread: JoinHandle<T>, deadline: Instant) -> Result<T, JoinError> {
    while !thread.is_finished() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(JoinError::Late);
        }
        thread::sleep(left.min(POLL_INTERVAL));
    }
    thread.join().map_err(|_| JoinError::Panicked)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::channel,
        thread,
        time::{Duration, Instant},
    };

    use crate::join::{JoinError, join_by};

    #[test]
    fn in_time_late_and_in_a_panic() {
        let far = || Instant::now() + Duration::from_secs(30);
        assert_eq!(join_by(thread::spawn(|| 7), far()), Ok(7));
        let panicking = thread::spawn(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(join_by::<()>(panicking, far()), Err(JoinError::Panicked));
        let (end, stuck) = channel::<()>();
        let thread = thread::spawn(move || stuck.recv().is_ok());
        assert_eq!(join_by(thread, Instant::now()), Err(JoinError::Late));
        drop(end);
    }
}
