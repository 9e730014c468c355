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
//! - [`net`]: sockets, timers and pipes on a worker's epoll
//! - [`proto`]: MQTT, PROXY headers and WebSocket, without sockets
//! - [`balance`]: from a key to a broker, without sockets
//!
//! Beside them, for all above `balance`:
//!
//! - [`config`]: the file an operator wrote, as types that cannot be wrong
//! - `tls`: certificates, keys and revocation lists, as configurations of rustls
//! - [`observe`]: the access log and the metrics
//! - [`escape`]: what terminals and logs are not to be shown as it is
//! - [`join`]: waiting for a thread's end, with a deadline

pub mod admin;
pub mod app;
pub mod balance;
pub mod cli;
pub mod config;
pub mod escape;
pub mod join;
pub mod listener;
pub mod net;
pub mod observe;
pub mod proto;
pub mod session;
pub mod snapshot;
mod tls;
pub mod upstream;
pub mod worker;
