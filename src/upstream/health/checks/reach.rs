//! The way to a broker for a check: its connection, and all that clients' connections have too.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink},
    net::{TcpSocket, TcpStream, UnixStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    config::{PoolTls, ProxyProtocolOut},
    net::{ConnectError, bind_source},
    proto::proxy_header::{self, HeaderAddresses},
    upstream::{broker::Endpoint, dial::DialError},
};

/// Bytes that are read and dropped while a broker is waited for to close: after a DISCONNECT it has
/// nothing more to say.
const LEFTOVERS: u64 = 4096;

/// What the pool's connections begin with.
#[derive(Clone, Copy, Default)]
pub(in crate::upstream) struct Way<'a> {
    pub(in crate::upstream) header: Option<ProxyProtocolOut>,
    pub(in crate::upstream) tls: Option<&'a PoolTls>,
}

/// When a probe has to be over, and how long it then took.
#[derive(Clone, Copy)]
pub(in crate::upstream) struct Deadline {
    pub(in crate::upstream) at: Instant,
    pub(in crate::upstream) timeout: Duration,
}

/// A connection to a broker, over TCP or a unix socket.
pub(in crate::upstream) trait Duplex:
    AsyncRead + AsyncWrite + Send + Unpin
{
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(in crate::upstream) type Stream = Box<dyn Duplex>;

/// What one probe asks.
#[derive(Clone, Copy)]
pub(in crate::upstream) enum Site<'a> {
    Ip(SocketAddr),
    Unix(&'a Path),
}

/// Reaches a broker.
pub(in crate::upstream) async fn connect(
    endpoint: &Endpoint,
    site: Site<'_>,
    way: Way<'_>,
    deadline: Deadline,
) -> Result<Stream, DialError> {
    let connecting = async {
        let (mut stream, addresses) = match site {
            Site::Ip(to) => {
                let stream = connect_ip(endpoint, to).await?;
                let from = stream.local_addr().map_err(DialError::Failed)?;
                (Box::new(stream) as Stream, Some(HeaderAddresses::new(from, to)))
            }
            Site::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(DialError::Failed)?;
                (Box::new(stream) as Stream, None)
            }
        };
        stream.write_all(&own_header(way.header, addresses)).await.map_err(DialError::Failed)?;
        Ok::<_, DialError>(stream)
    };
    let connected = timeout_at(deadline.at, connecting).await;
    let stream = connected.map_err(|_| DialError::TimedOut(deadline.timeout))??;
    let Some(tls) = way.tls else { return Ok(stream) };
    let name = tls.name_for(&endpoint.address).ok_or(DialError::Nameless)?;
    let shaking_hands = TlsConnector::from(tls.client.clone()).connect(name, stream);
    match timeout_at(deadline.at, shaking_hands).await {
        Ok(Ok(wrapped)) => Ok(Box::new(wrapped)),
        Ok(Err(error)) => Err(DialError::Failed(error)),
        Err(_) => Err(DialError::NoTls(deadline.timeout)),
    }
}

/// Connects as clients are, from the same addresses: a firewall may know no others.
async fn connect_ip(endpoint: &Endpoint, to: SocketAddr) -> Result<TcpStream, DialError> {
    for source in endpoint.sources.in_turn(to) {
        match connect_from(source.address, to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => source.pass_over(error)?,
        }
    }
    Err(endpoint.sources.exhausted(to))
}

async fn connect_from(source: Option<IpAddr>, to: SocketAddr) -> Result<TcpStream, ConnectError> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        bind_source(&socket, source)?;
    }
    socket.connect(to).await.map_err(ConnectError::of_connect)
}

/// A header that names this end of the connection as the client. UNKNOWN and LOCAL would say no
/// more; but Mosquitto 2.1 refuses the one and ends the connection after the other.
fn own_header(version: Option<ProxyProtocolOut>, addresses: Option<HeaderAddresses>) -> Vec<u8> {
    match (version, addresses) {
        (None, _) => Vec::new(),
        (Some(ProxyProtocolOut::V1), _) => proxy_header::write_v1(addresses),
        (Some(ProxyProtocolOut::V2), Some(_)) => proxy_header::write_v2(addresses, None, b""),
        (Some(ProxyProtocolOut::V2), None) => proxy_header::V2_LOCAL.to_vec(),
    }
}

/// Ends our side and waits for the broker to end its own: closed at once, with something unread, the
/// connection would end in a reset, which brokers log.
pub(in crate::upstream) async fn leave(mut stream: Stream, deadline: Deadline) {
    let leaving = async {
        stream.shutdown().await?;
        copy(&mut stream.take(LEFTOVERS), &mut sink()).await
    };
    // The broker has been judged; how it parts is not held against it.
    let _ = timeout_at(deadline.at, leaving).await;
}
