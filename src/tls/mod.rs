//! Turns TLS files into rustls configurations.

mod client;
mod clients;
mod identity;
mod pem;
mod provider;
mod server;
mod sni;
mod ticket_identity;
mod ticket_keys;
mod unverified;

pub(crate) use client::client;
pub(crate) use clients::Clients;
pub(crate) use identity::certified;
pub(crate) use pem::{
    AUTHORITIES, CHAIN, KEY, REVOCATION_LISTS, authorities, chain, key, revocation_lists,
};
pub(crate) use provider::TlsVersion;
pub(crate) use server::{HTTP_1_1, Server, Tickets};
pub(crate) use ticket_keys::{TICKET_KEYS, TicketKeys, ticket_keys};
