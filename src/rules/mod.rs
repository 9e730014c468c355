//! Where a client may go: conditions on what is known about it, and what follows from them.
//!
//! - [`ClientFacts`]: what conditions are about
//! - [`Conditions`]: what has to hold of a client
//! - [`Percent`]: a share of all clients, always the same ones
//! - [`Rule`]: conditions, and the pool or the refusal that follows
//! - [`TextSet`]: a list of up to a million texts

mod client_facts;
mod conditions;
mod explain;
mod percent;
mod refusal;
mod rule;
mod text_matcher;
mod text_set;

pub(crate) use client_facts::ClientFacts;
pub(crate) use conditions::{Conditions, TextCondition, TextField};
pub(crate) use explain::{Verdict, explain};
pub(crate) use percent::{Percent, key_hash};
pub(crate) use refusal::Refusal;
pub(crate) use rule::{Action, Rule};
pub(crate) use text_matcher::TextMatcher;
pub use text_set::TextSet;
