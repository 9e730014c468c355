//! The record layer of TLS once the handshake is over.

mod budgets;
mod established;
mod failure;
mod fragment;
mod handshake;
mod header;
mod inbound;
mod layer;
mod protection;
mod state;
#[cfg(test)]
mod tests;
mod tickets;
mod traffic_key;

pub(super) use layer::{RecordLayer, TlsWrite};
pub(super) use state::RecordState;
