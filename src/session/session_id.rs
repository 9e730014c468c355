//! Session IDs: unique over workers and restarts.

/// The low bits of a session's ID count the sessions of one worker in one run: 8 years of them at
/// 1,000 connections a second. The next 10 are the worker's index, of at most 1,024 workers; the
/// rest identifies the run.
pub const SESSION_ID_BITS: u32 = 38;
const WORKER_BITS: u32 = 10;

/// The index of the worker that a session is on.
pub(crate) fn worker_of(session_id: u64) -> usize {
    (session_id >> SESSION_ID_BITS) as usize % (1 << WORKER_BITS)
}
