//! The PROXY header that is sent to brokers in front of the client's opening.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    config::ProxyProtocolOut,
    proto::{
        TlsFacts,
        proxy_header::{HeaderAddresses, KeptTlvs, write_v1, write_v2},
    },
    session::pending::PendingClient,
    template::Template,
};

/// The header for this client; empty without `version`.
pub(super) fn proxy_header(
    client: &PendingClient<'_>,
    version: Option<&ProxyProtocolOut>,
) -> Vec<u8> {
    match version {
        None => Vec::new(),
        Some(ProxyProtocolOut::V1) => write_v1(addresses(client)),
        Some(ProxyProtocolOut::V2 { cn, tlvs }) => {
            // In the format of the access log.
            let session_id = format!("{:016x}", client.record.session_id);
            let tls = client.record.tls();
            let renamed = cn.as_ref().map(|cn| with_common_name(client, cn));
            let tls = renamed.as_ref().map_or(tls, Option::as_ref);
            let kept = client.record.proxy_tlvs().into_iter().flat_map(KeptTlvs::iter);
            let passed = kept.filter(|(kind, _)| tlvs.contains(*kind));
            write_v2(addresses(client), tls, session_id.as_bytes(), passed)
        }
    }
}

/// The facts about the client's TLS, with another name in place of the common name.
fn with_common_name(client: &PendingClient<'_>, cn: &Template) -> Option<TlsFacts> {
    let fields = client.record.fields();
    let name = cn.render(&fields).ok();
    client.record.tls().map(|tls| tls.with_common_name(name.as_deref()))
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
