//! The handlers: one file per resource.

mod ban_warnings;
mod context;
mod route_by_rules;
mod scrape;
mod session_page;
mod session_view;

pub(super) mod bans;
pub(super) mod config;
pub(super) mod duplicates;
pub(super) mod health;
pub(super) mod log;
pub(super) mod reload;
pub(super) mod route;
pub(super) mod rules;
pub(super) mod sessions;
pub(super) mod status;
pub(super) mod upgrade;
pub(super) mod upstreams;

pub(super) use self::context::AdminContext;
