//! The broker search: the CONNECT is offered to one broker after the other, never to two at once,
//! until one takes the client. A TLS ClientHello that is passed through is offered in the same way,
//! until a broker takes the connection.

mod admission;
mod attempt;
mod auth_exchange;
mod choose;
mod connack;
mod find_broker;
mod opening;
mod outcome;
mod own_session;
mod proxy_header;
mod search;

pub(super) use choose::preferred_broker;

pub(super) use find_broker::find_broker;
pub(super) use opening::Opening;
pub(super) use outcome::BrokerAnswer;
pub(super) use own_session::{answer_replacement_queries, replace_own_session};
