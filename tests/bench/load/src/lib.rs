//! What the three programs of the rig share: system calls, a little MQTT and command-line options.
//!
//! - `relay`: the least that a user-space relay can do, the floor for every proxy's numbers
//! - `stub`: brokers that accept, acknowledge and count, and nothing else
//! - `load`: the clients, one scenario a run, results as JSON

pub mod args;
pub mod mqtt;
pub mod sys;
