//! Decides when changed files are read again.

use std::time::{Duration, Instant};

use crate::config::FileState;

/// The most polls in a row with a change before the files are read all the same: a list that a
/// program appends to every second never rests.
const MAX_UNSETTLED_POLLS: u32 = 10;

/// When files that could not be used are read again without a change: what was wrong may be no
/// matter of the files, such as a network file system that was slow, or a lack of descriptors.
const RETRY_INTERVAL: Duration = Duration::from_mins(1);

/// Compares the files of one configuration from poll to poll.
pub(super) struct ChangeDetector {
    /// As they were when they were last read, whether or not they could be used.
    read: Vec<FileState>,
    last_poll: Vec<FileState>,
    /// Polls in a row that differ from the poll before.
    unsettled: u32,
    /// `None`: the files in `read` are in use.
    retry_at: Option<Instant>,
}

impl ChangeDetector {
    /// `read`: the states of the files in use.
    pub(super) fn new(read: Vec<FileState>) -> Self {
        Self { last_poll: read.clone(), read, unsettled: 0, retry_at: None }
    }

    /// Takes the states of all files; returns whether to read them now. They are read once they
    /// have been the same for two polls, so that writers are given the time to finish.
    pub(super) fn poll(&mut self, states: Vec<FileState>, now: Instant) -> bool {
        let is_settled = states == self.last_poll;
        self.unsettled = if is_settled { 0 } else { self.unsettled + 1 };
        self.last_poll = states;
        let is_changed = self.last_poll != self.read;
        let is_due = is_settled || self.unsettled > MAX_UNSETTLED_POLLS;
        is_due && (is_changed || self.retry_at.is_some_and(|at| at <= now))
    }

    /// Indexes of the files that differ from when they were last read.
    pub(super) fn changed(&self) -> impl Iterator<Item = usize> {
        let pairs = self.last_poll.iter().zip(&self.read).enumerate();
        pairs.filter(|(_, (now, read))| now != read).map(|(index, _)| index)
    }

    /// The files were read and could not be used.
    pub(super) fn refused(&mut self, now: Instant) {
        self.read.clone_from(&self.last_poll);
        self.unsettled = 0;
        self.retry_at = Some(now + RETRY_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64) -> FileState {
        FileState::File { device: 1, inode, bytes: 1, modified: (0, 0), changed: (0, 0) }
    }

    /// Which of these polls read the files; a second lies between two polls.
    fn reads(detector: &mut ChangeDetector, start: Instant, polls: &[[u64; 2]]) -> Vec<usize> {
        let at = |n: usize| start + Duration::from_secs(n as u64);
        let is_read = |n: &usize| detector.poll(polls[*n].map(state).to_vec(), at(*n));
        (0..polls.len()).filter(is_read).collect()
    }

    fn detector() -> ChangeDetector {
        ChangeDetector::new([1, 1].map(state).to_vec())
    }

    #[test]
    fn files_are_read_once_they_rest() {
        let start = Instant::now();
        for (polls, wanted) in [
            (&[[1, 1], [1, 1]][..], &[][..]),
            (&[[2, 1], [2, 1]], &[1]),
            (&[[2, 1], [2, 2], [2, 2]], &[2]),
            (&[[2, 1], [3, 1], [4, 1], [4, 1]], &[3]),
            // Back as it was: nothing to do.
            (&[[2, 1], [1, 1], [1, 1]], &[]),
        ] {
            assert_eq!(reads(&mut detector(), start, polls), wanted, "{polls:?}");
        }
    }

    #[test]
    fn files_that_never_rest_are_read_now_and_then() {
        let polls: Vec<_> = (2..40).map(|inode| [inode, 1]).collect();
        let read = reads(&mut detector(), Instant::now(), &polls);
        assert_eq!(read.first(), Some(&(MAX_UNSETTLED_POLLS as usize)));
    }

    #[test]
    fn refused_files_wait_for_a_change_or_a_retry() {
        let (start, mut detector) = (Instant::now(), detector());
        assert_eq!(reads(&mut detector, start, &[[2, 1], [2, 1]]), [1]);
        assert_eq!(detector.changed().collect::<Vec<_>>(), [0]);
        detector.refused(start);
        assert_eq!(reads(&mut detector, start, &[[2, 1]; 50]), [0; 0]);
        // The other half.
        assert_eq!(reads(&mut detector, start, &[[2, 2], [2, 2]]), [1]);
        detector.refused(start);
        // A link is swapped back to what is in use.
        assert_eq!(reads(&mut detector, start, &[[1, 1], [1, 1]]), [1]);
        detector.refused(start);
        assert_eq!(reads(&mut detector, start + RETRY_INTERVAL, &[[1, 1]]), [0]);
    }
}
