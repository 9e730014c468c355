//! TLS: what is said of its keys and files, and what comes of good ones.

mod faults;
mod folder;
mod handshake;
mod listener;
mod passthrough;
pub(crate) mod pki;
mod pool;
