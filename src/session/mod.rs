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

pub use active::{end_all, look, recount, sweep};
pub use clients::ClientDirectory;
pub use context::{ProcessContext, SessionSettings, WorkerContext};
pub use evict::{Drain, drain};
pub use handshake::{Accepted, serve};
pub use pool_view::PoolView;
pub use query::{
    Ask, Cursor, Filter, Inspector, Page, QUERY_TIMEOUT, Question, Seen, Unanswered, answer,
};
pub use record::ListenerRef;
pub use session_id::SESSION_ID_BITS;
