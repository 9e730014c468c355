//! The admin API of a running proxy, asked byte by byte.

mod bad_input;
mod brokers;
mod crowds;
pub(crate) mod ctl;
mod draining;
pub(crate) mod http;
mod openapi;
mod security;
mod sessions;
mod status;
mod unread;
