//! TLS as a layer over a socket: plaintext above, records below, and no buffer while no bytes are
//! in transit.
//!
//! rustls makes the handshake, driven through its unbuffered API: the buffers that it would keep per
//! connection exist once per worker. Then the [record] layer takes the keys over.

mod buffers;
mod certificate;
mod client;
mod comparison;
mod connection;
mod error;
mod facts;
mod handshake;
mod hello;
mod key_use;
mod layer;
mod layer_state;
mod partial_records;
mod record;
mod records;
mod resumed;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod violation;

pub(crate) use client::ClientTlsHandshake;
pub use comparison::{EstablishedTls, TlsReceived, TlsRole};
pub(crate) use error::TlsError;
pub(crate) use key_use::{KeyUse, is_key_used_up};
pub(in crate::net) use layer::TlsLayer;
pub(crate) use layer_state::{CaptureError, TlsLayerState};
pub(super) use server::ServerTlsHandshake;
