//! What other threads ask about sessions.

mod inspect;
mod inspector;

pub use inspect::{Filter, Question, Seen, answer};
pub use inspector::{Ask, Cursor, Inspector, Page, QUERY_TIMEOUT, Unanswered};
