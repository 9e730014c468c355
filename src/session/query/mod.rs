//! Queries about sessions from other threads.

mod inspect;
mod inspector;

pub use inspect::{Filter, SessionInfo, SessionQuery, answer_query};
pub use inspector::{Cursor, Inspector, Page, QUERY_TIMEOUT, QueryError, QuerySender};
