//! Turns TLS files into rustls configurations.

mod broker_verifier;
mod client;
mod identity;
mod pem;
mod pin;
mod provider;
mod server;
mod sni;

pub(crate) use broker_verifier::{BrokerCheck, NotPinned};
pub(crate) use client::Client;
pub(crate) use identity::certified;
pub(crate) use pem::{
    AUTHORITIES, CHAIN, KEY, REVOCATION_LISTS, authorities, chain, key, revocation_lists,
};
pub(crate) use pin::{Pin, Pins};
pub(crate) use provider::MinVersion;
pub(crate) use server::{Clients, HTTP_1_1, Server};
