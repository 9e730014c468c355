//! Every key of the file, with its documentation and its default.
//!
//! The comments of the keys are for operators: they are the descriptions of the JSON schema and of
//! the manual page mqtt-lb.yaml(5).

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments are for operators: [0] is a list in YAML"
)]

mod access_log;
mod authenticate;
mod common;
mod config;
mod entries;
mod health;
mod identity;
mod listener;
mod pool;
mod rules;
mod settings;
mod websocket;

pub(super) use access_log::{AccessLog, Event, Rotate, Syslog};
pub(super) use authenticate::{Authenticate, OnExpiry};
pub(super) use common::List;
pub(super) use config::Config;
pub(super) use entries::{Entries, ONE_OR_MORE, OneOrMore};
pub(super) use health::{Active, CheckType, Code, Health, KEYS_OF_OTHER_TYPES, Passive};
pub(super) use identity::{ConnectCheck, Requirement, Rewrite, UserProperty};
pub(super) use listener::{
    AcceptProxyProtocol, Certificate, ClientAuth, Listener, ListenerTls, Protocol, TicketKeys,
};
pub(super) use pool::{
    Admission, Balance, Discover, DiscoverType, HeaderVersion, Pool, PoolTls, Reason, Rebalance,
    SendProxyProtocol, Upstream,
};
pub(super) use rules::{Rule, When};
pub(super) use settings::{Admin, BanRate, Limits, Quota, SHORT_FORMS, Timeouts};
pub(super) use websocket::{DEFAULT_PATH, WebSocket, default_websocket};
