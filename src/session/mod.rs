//! One connection's life: handshake, broker search, relay, end, record.
//!
//! Modules use only modules of lower layers. From the bottom: `end`, `record`, `active` (the data
//! of one session), `clients` and `table`; then `accept_context`, and `context` (what a worker's sessions share); then
//! `linger`, `pending` and `reject`, `destination`, `evict`, `relay`, `identity`, `broker_search`, `handshake`; at the top `sweep` and
//! `query`.

mod accept_context;
mod active;
mod ban_check;
mod ban_log;
mod broker_search;
mod by_age;
mod clients;
mod context;
mod counters;
mod destination;
mod end;
mod evict;
mod flood_log;
mod handover;
mod handshake;
mod identity;
mod key_limit;
mod linger;
mod panics;
mod pending;
mod pool_view;
mod query;
mod record;
mod reject;
mod relay;
mod session_id;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod walk;

pub use clients::ClientDirectory;
pub(crate) use clients::DuplicateClient;
pub use context::ProcessContext;
pub(crate) use evict::Drain;
pub(crate) use query::{Inspector, SessionQuery};
pub use session_id::SESSION_ID_BITS;
pub(crate) use session_id::worker_of;

pub(crate) use accept_context::AcceptContext;
pub(crate) use context::{SessionSettings, WorkerContext};
pub(crate) use evict::drain;
pub(crate) use handover::{
    Adoptions, HandOver, HandOverOutcome, MovedSession, ParkedSession, Refusal, StayCounts,
    answer_hand_over, end_hand_over, start_hand_over,
};
pub(crate) use handshake::{admit_at_accept, serve};
pub(crate) use query::{
    Cursor, Filter, QUERY_TIMEOUT, QueryError, QuerySender, SessionInfo, answer_query,
};
pub(crate) use record::ListenerRef;
pub(crate) use sweep::{end_all_sessions, on_worker_signal, recount_clients, sweep};
