//! One connection's life: handshake, relay, record.

mod arrival;
mod ask;
mod choose;
mod dialogue;
mod end;
mod flow;
mod gate;
mod handshake;
mod inspect;
mod inspector;
mod live;
mod owners;
mod parting;
mod proxy_header;
mod rebalance;
mod record;
mod reject;
mod relay;
mod scan;
mod search;
mod shard;
#[cfg(test)]
mod tests;
mod upgrade;
mod view;

pub use arrival::Accepted;
pub use gate::{Gate, Pass};
pub use handshake::serve;
pub use inspect::{Filter, Question, Seen, answer};
pub use inspector::{Ask, Cursor, Inspector, Page, SESSION_ID_BITS, Unanswered};
pub use live::{end_all, look, sweep};
pub use owners::Owners;
pub use record::ListenerRef;
pub use shard::{Shard, Shared, Terms};
pub use view::PoolView;
