//! The types of the admin API, version 1: the admin listener writes them, `mqtt-lb ctl` reads them,
//! and the OpenAPI document is generated from them.
//!
//! Within version 1 fields are only added, so readers ignore what they do not know. A field added
//! later is optional or has a default: `ctl` may be newer than the proxy that it asks.

mod bans;
mod duplicates;
mod error;
mod log;
mod openapi;
mod reload;
mod route;
mod rules;
mod sessions;
mod status;
mod upgrade;
mod upstreams;
mod value;

pub(crate) use self::{
    bans::{Ban, BanPage, Banned, NewBan, NewBans},
    duplicates::{Duplicate, Duplicates},
    error::Error,
    log::{Log, LogLine},
    openapi::openapi,
    reload::{Applied, LastFileReload, LastReload},
    route::{Candidate, PoolRoute, Routes, Verdict},
    rules::{ListenerRules, Rule, RuleChange, Rules, Traffic},
    sessions::{Session, Sessions},
    status::{ConfigInForce, Descriptors, End, Listener, Quota, QuotaKey, Status},
    upgrade::{LastUpgrade, PreviousProcess, Upgraded},
    upstreams::{Change, Pool, Pools, State, Upstream, Weight},
    value::Counts,
};
