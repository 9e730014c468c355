//! Turns TLS files into rustls configurations.

mod client;
mod identity;
mod pem;
mod provider;
mod server;
mod sni;
mod unverified;

pub(crate) use client::client;
pub(crate) use identity::certified;
pub(crate) use pem::{
    AUTHORITIES, CHAIN, KEY, REVOCATION_LISTS, authorities, chain, key, revocation_lists,
};
pub(crate) use provider::MinVersion;

pub(crate) use server::{Clients, HTTP_1_1, Server, TlsServer};
