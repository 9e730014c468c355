//! Queries about sessions from other threads.

mod inspect;
mod inspector;

pub(crate) use inspect::SessionQuery;
pub(crate) use inspect::{Filter, SessionInfo, answer_query};
pub(crate) use inspector::Inspector;
pub(crate) use inspector::{Cursor, QUERY_TIMEOUT, QueryError, QuerySender};
