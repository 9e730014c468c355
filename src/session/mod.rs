//! One connection's life: handshake, relay, record.

mod active;
mod broker_search;
mod clients;
mod context;
mod end;
mod evict;
mod handshake;
mod panics;
mod pool_view;
mod query;
mod record;
mod relay;
mod scan;
mod session_id;
mod table;
#[cfg(test)]
mod tests;

pub use active::{end_all_sessions, on_worker_signal, recount_addresses, sweep};
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
