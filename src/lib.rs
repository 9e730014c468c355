//! `mqtt-lb`: a layer-4, MQTT-aware load-balancing proxy.
//!
//! The rooms, from the door inwards; each may name those below it, never those above:
//!
//! - [`cli`]: the commands `run`, `check`, `route` and `ctl`
//! - [`app`]: the composition root: a configuration becomes workers and a control thread
//! - [`admin`]: metrics, health and the API over HTTP, on a thread of its own
//! - [`worker`]: one thread: its event loop, its listeners, its sessions, its one-second sweep
//! - [`snapshot`]: what the proxy runs by, swapped whole on reload
//! - [`session`]: one connection's life: handshake, relay, record
//! - [`listener`]: what a listener is, and its sockets
//! - [`upstream`]: the brokers and how to reach them
//! - [`transport`]: sockets, timers and pipes on a worker's epoll
//! - [`route`]: from a key to a broker, without sockets
//! - [`mqtt`]: the CONNECT and CONNACK packets, without sockets
//!
//! Beside them, for all above `route` and `mqtt`:
//!
//! - [`api`]: the types of the admin API: `admin` writes them, `cli` reads them
//! - [`config`]: the file an operator wrote, as types that cannot be wrong
//! - [`observe`]: the access log and the metrics
//! - [`escape`]: what terminals and logs are not to be shown as it is
//! - [`join`]: waiting for a thread's end, with a deadline

pub mod admin;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod escape;
pub mod join;
pub mod listener;
pub mod mqtt;
pub mod observe;
pub mod route;
pub mod session;
pub mod snapshot;
pub mod transport;
pub mod upstream;
pub mod worker;
