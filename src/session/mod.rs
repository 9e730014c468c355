//! One connection's life: handshake, relay, record.

mod arrival;
mod ask;
mod choose;
mod client;
mod dialogue;
mod end;
mod evict;
mod flow;
mod gate;
mod handshake;
mod inspect;
mod inspector;
mod live;
mod owners;
mod panics;
mod proxy_header;
mod queue;
mod rebalance;
mod record;
mod reject;
mod relay;
mod scan;
mod search;
mod session_id;
mod shard;
mod stray;
mod table;
mod takeover;
mod tenant;
#[cfg(test)]
mod tests;
mod upgrade;
mod view;

pub use arrival::Accepted;
pub use evict::{Drain, drain};
pub use gate::{Gate, Pass};
pub use handshake::serve;
pub use inspect::{Filter, Question, Seen, answer};
pub use inspector::{Ask, Cursor, Inspector, Page, Unanswered};
pub use live::{end_all, look, recount, sweep};
pub use owners::Owners;
pub use record::ListenerRef;
pub use session_id::SESSION_ID_BITS;
pub use shard::{Shard, Shared, Terms};
pub use view::PoolView;
