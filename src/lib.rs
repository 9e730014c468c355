//! `mqtt-lb`: a layer-4, MQTT-aware load-balancing proxy.
//!
//! The rooms, in the order a client's bytes pass through them:
//!
//! - [`config`]: the file an operator wrote, as types that cannot be wrong
//! - [`mqtt`]: the CONNECT and CONNACK packets, without sockets
//! - [`route`]: from a key to a broker, without sockets

pub mod admin;
pub mod config;
pub mod mqtt;
pub mod observe;
pub mod route;
pub mod transport;
