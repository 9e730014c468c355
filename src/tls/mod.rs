//! Turns TLS files into rustls configurations.

mod broker_verifier;
mod client;
mod clients;
mod explained;
mod generated_keys;
mod hidden_sni;
mod identity;
#[cfg(test)]
pub(crate) mod limited_keys;
mod ocsp;
mod pem;
mod pin;
mod provider;
mod refused_certificate;
mod restored_signature;
mod server;
mod sni;
mod ticket_identity;
mod ticket_keys;
mod traffic_secrets;

pub(crate) use broker_verifier::BrokerCheck;
pub(crate) use client::Client;
pub(crate) use clients::Clients;
pub(crate) use generated_keys::HandedTicketKeys;
pub(crate) use hidden_sni::hide_server_name;
pub(crate) use identity::certified;
pub(crate) use ocsp::{OCSP, Staple, staple};
pub(crate) use pem::{
    AUTHORITIES, Authorities, CHAIN, KEY, REVOCATION_LISTS, authorities, chain, key,
    revocation_lists,
};
pub(crate) use pin::{Pin, Pins};
pub(crate) use provider::TlsVersion;
pub(crate) use refused_certificate::{Weakness, describe};
pub(crate) use server::{HTTP_1_1, Server, Tickets, TlsServer};
pub(crate) use sni::Presented;
pub(crate) use ticket_keys::{TICKET_KEYS, TicketKeys, ticket_keys};
pub use traffic_secrets::secret_capture;
pub(crate) use traffic_secrets::{MAX_SECRET_BYTES, TrafficSecret, TrafficSecrets, capture};
