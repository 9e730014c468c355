//! The PROXY header that is sent to brokers in front of the CONNECT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    config::ProxyProtocolOut,
    proto::proxy_header::{HeaderAddresses, write_v1, write_v2},
    session::pending::PendingClient,
};

/// The header for this client; empty without `version`.
pub(super) fn proxy_header(
    client: &PendingClient<'_>,
    version: Option<ProxyProtocolOut>,
) -> Vec<u8> {
    match version {
        None => Vec::new(),
        Some(ProxyProtocolOut::V1) => write_v1(addresses(client)),
        Some(ProxyProtocolOut::V2) => {
            // In the format of the access log.
            let session_id = format!("{:016x}", client.record.session_id);
            write_v2(addresses(client), client.record.tls(), session_id.as_bytes())
        }
    }
}

/// The client's address and the address it connected to; `None` for a client on a unix socket.
fn addresses(client: &PendingClient<'_>) -> Option<HeaderAddresses> {
    let source = client.record.source.address()?;
    let named = client.record.transport.as_ref().and_then(|transport| transport.destination);
    let destination = named.or_else(|| client.stream.socket().local_address());
    // A client named by a proxy on a unix socket did not connect to any address of this host.
    let unspecified = || match source.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    Some(HeaderAddresses::new(source, destination.unwrap_or_else(unspecified)))
}
