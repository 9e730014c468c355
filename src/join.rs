//! Waiting for a thread's end, not longer than until a deadline.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often it is looked at whether a thread has ended.
const POLL: Duration = Duration::from_millis(2);

/// Why there is nothing to show for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("has not ended in time")]
    Late,
    #[error("has panicked")]
    Panicked,
}

/// What a thread returns, if it has by then. One that has not goes on; the process' end takes it along.
pub fn join_by<T>(thread: JoinHandle<T>, deadline: Instant) -> Result<T, JoinError> {
    while !thread.is_finished() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(JoinError::Late);
        }
        thread::sleep(left.min(POLL));
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
