//! Session IDs, unique across workers and restarts.

/// The low bits of a session ID count the sessions of one worker in one run: enough for 8 years at
/// 1,000 connections a second. The next 10 bits are the worker's index, for at most 1,024 workers;
/// the remaining bits identify the run.
pub const SESSION_ID_BITS: u32 = 38;
const WORKER_BITS: u32 = 10;

/// The index of the session's worker in a process with so many `workers`. A session that began in
/// another process may have had a worker that this one lacks.
pub(crate) fn worker_of(session_id: u64, workers: usize) -> usize {
    (session_id >> SESSION_ID_BITS) as usize % (1 << WORKER_BITS) % workers.max(1)
}

/// The number of the run, that is of the process, in which the session began.
pub(crate) fn run_of(session_id: u64) -> u16 {
    (session_id >> (SESSION_ID_BITS + WORKER_BITS)) as u16
}
