//! `mqtt-lb`: a layer-4, MQTT-aware load-balancing proxy.
//!
//! The modules, from the outside inwards; each may use those below it, never those above. Inside a
//! module no file uses one that uses it:
//!
//! - `cli`: the commands `run`, `check`, `route` and `ctl`
//! - `control`: the composition root: a configuration becomes workers and a control thread
//! - `upgrade`: the hand-over from a running process to the next
//! - `admin`: metrics, health and the API over HTTP, on a thread of its own
//! - `worker`: one thread: its event loop, its listeners, its sessions, its one-second sweep
//! - `snapshot`: the configuration in force, replaced as a whole on reload
//! - `session`: one connection's life: handshake, relay, record
//! - `listener`: listeners: their settings, and their sockets
//! - `limits`: how many may connect, how fast, and who has to wait
//! - `upstream`: the brokers and how to reach them
//! - `net`: sockets, timers and pipes on a worker's epoll
//! - `proto`: MQTT, PROXY headers and WebSocket, without I/O
//! - `balance`: from a key to a broker, without I/O
//! - `rules`: from what is known about a client to a pool or a refusal
//! - `networks`: sets of networks, made for fast look-ups of addresses
//! - `template`: texts made of facts about a client
//!
//! For all modules above `balance`:
//!
//! - `api`: the types of the admin API: `admin` writes them, `cli` reads them
//! - `config`: the file an operator wrote, as types that cannot be wrong
//! - `jwt`: tokens that clients prove their identity with
//! - `tls`: certificates, keys and revocation lists, as configurations of rustls
//! - `access_log`: one line for each connection that opens, ends or is refused
//! - `metrics`: the Prometheus metrics
//! - `program_log`: the program's own log
//! - `labels`: the words that log fields and metric labels share
//! - `timestamp`: times as logs write them
//! - `escape`: characters that are unsafe on terminals and in logs
//! - `secret_bytes`: bytes that are zeroized when they are dropped
//! - `join`: joining a thread, with a deadline
//!
//! [`testing`] is what tests, benchmarks and the demo use of them.

mod access_log;
mod admin;
mod api;
mod balance;
mod cli;
mod config;
mod control;
mod escape;
mod join;
mod jwt;
mod labels;
mod limits;
mod listener;
mod metrics;
mod net;
mod networks;
mod program_log;
mod proto;
mod rules;
mod secret_bytes;
mod session;
mod snapshot;
mod template;
pub mod testing;
mod timestamp;
mod tls;
mod upgrade;
mod upstream;
mod worker;

pub use cli::main;
