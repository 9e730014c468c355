//! The numbers of sessions.

/// The low bits of a session's ID count the sessions of one worker in one run: 8 years of them at
/// 1,000 connections a second. The next 10 are the worker's number, of 1,024 at most; the rest is
/// the run's.
pub const SESSION_ID_BITS: u32 = 38;
const WORKER_BITS: u32 = 10;

/// The number of the worker that has a session.
pub(in crate::session) fn worker_of(session: u64) -> usize {
    (session >> SESSION_ID_BITS) as usize % (1 << WORKER_BITS)
}
