//! One connection's life: handshake, broker search, relay, end, record.
//!
//! A file uses only those of lower floors: `end`, `record`, `active` (one session's data), `clients`
//! and `table`; above them `context` (all that a worker's sessions share); then `pending` and
//! `reject`, `evict`, `relay`, `broker_search`, `handshake`; on top `sweep` and `query`.

mod active;
mod broker_search;
mod by_age;
mod clients;
mod context;
mod end;
mod evict;
mod handshake;
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
pub use context::{ProcessContext, SessionSettings, WorkerContext};
pub use evict::{Drain, drain};
pub use handshake::{AcceptContext, serve};
pub use pool_view::PoolView;
pub use query::{
    Cursor, Filter, Inspector, Page, QUERY_TIMEOUT, QueryError, QuerySender, SessionInfo,
    SessionQuery, answer_query,
};
pub use record::ListenerRef;
pub use session_id::SESSION_ID_BITS;
pub use sweep::{end_all_sessions, on_worker_signal, recount_addresses, sweep};
