//! Session IDs, unique across workers and restarts.

/// The low bits of a session ID count the sessions of one worker in one run: enough for 8 years at
/// 1,000 connections a second. The next 10 bits are the worker's index, for at most 1,024 workers;
/// the remaining bits identify the run.
pub const SESSION_ID_BITS: u32 = 38;
const WORKER_BITS: u32 = 10;

/// The index of the session's worker.
pub(crate) fn worker_of(session_id: u64) -> usize {
    (session_id >> SESSION_ID_BITS) as usize % (1 << WORKER_BITS)
}
