//! From a key to a broker: pure functions of keys, names, weights and health.

mod key;

pub use key::{EmptyClientId, KeyTemplate};

/// How a pool chooses among its brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rendezvous,
    Maglev,
    Ketama,
    LeastConnections,
    RoundRobin,
}
