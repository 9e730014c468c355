//! Protocols without I/O: bytes in, values out.

mod certificate_facts;
pub(crate) mod client_hello;
pub(crate) mod first_bytes;
pub(crate) mod mqtt;
pub(crate) mod proxy_header;
mod tls_facts;
pub(crate) mod websocket;

pub(crate) use certificate_facts::CertificateFacts;
pub(crate) use tls_facts::TlsFacts;
