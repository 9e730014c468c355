//! Queries about sessions from other threads.

mod inspect;
mod inspector;

pub use inspect::SessionQuery;
pub(crate) use inspect::{Filter, SessionInfo, answer_query};
pub use inspector::Inspector;
pub(crate) use inspector::{Cursor, QUERY_TIMEOUT, QueryError, QuerySender};
