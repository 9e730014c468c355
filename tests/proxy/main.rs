//! The built program between raw clients and scripted brokers, on loopback.
//!
//! Every wait is for a condition, with a deadline that only a failure reaches.

mod bad_input;
mod broker;
mod bulk;
mod client;
mod commands;
mod config;
mod descriptors;
mod drain;
mod endings;
mod harness;
mod limits;
mod logs;
mod records;
mod routing;
mod sockets;
mod stalled;
mod timeouts;
mod transparency;
mod unavailable;
mod waiting;
