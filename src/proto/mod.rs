//! Protocols without I/O: bytes in, values out.

pub mod first_bytes;
pub mod mqtt;
pub mod proxy_header;
mod tls_facts;
pub mod websocket;

pub use tls_facts::TlsFacts;
