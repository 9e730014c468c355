//! The built program between raw clients and scripted brokers, on loopback.
//!
//! Every wait is for a condition, with a deadline that only a failure reaches.

#![allow(clippy::too_many_lines, reason = "tables of cases, and scenes told in one piece")]

mod address_checks;
mod addresses;
mod admin;
mod bad_input;
mod bans;
mod blocked_log;
mod broker;
mod bulk;
mod certificates;
mod client;
mod commands;
mod config;
mod connacks;
mod descriptors;
mod disconnects;
mod discovery;
mod discovery_faults;
mod dns_lies;
mod drain;
mod draining;
mod duplicates;
mod ejection;
mod endings;
mod full_disk;
mod harness;
mod health;
mod held_back;
mod http_probes;
mod identity;
mod inherited;
mod keep_alive;
mod limits;
mod limits_by_address;
mod logs;
mod lost;
mod name_server;
mod one_session;
mod own_place;
mod panics;
#[allow(dead_code, reason = "shared with the tests of the configuration, which use all of it")]
#[path = "../config/tls/pki.rs"]
mod pki;
mod probes;
mod proxy_header;
mod proxy_protocol_in;
mod proxy_protocol_out;
mod proxy_protocol_tls;
mod queue;
mod records;
mod reload;
mod retry;
mod returning;
mod rotation;
mod routing;
mod serves_again;
mod serves_nobody;
mod service_manager;
mod shared_fault;
mod sharing;
mod sockets;
mod sources;
mod stalled;
mod strays;
mod stuck_log;
mod syslog;
mod syslog_receiver;
mod tcp_checks;
mod terminals;
mod timeouts;
mod tls;
mod tls_bad_input;
mod tls_client;
mod tls_held;
mod tls_last_words;
mod tls_shared_buffers;
mod tls_upstream;
mod transparency;
mod unavailable;
mod waiting;
mod walks;
mod warnings;
mod websocket;
