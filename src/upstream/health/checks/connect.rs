//! A check's connection to a broker, made in the same way as a session's: from the same local
//! addresses, with the pool's PROXY header and TLS.
//!
//! Sessions run on a worker's epoll reactor, checks on the control thread's tokio runtime, so that
//! slow or numerous checks never delay a session. Both start their connections with the same code
//! (`upstream::dial::connect`); only the wait for the connection and the TLS handshake are specific
//! to each runtime.

use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixStream as StdUnixStream,
    path::Path,
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    config::{self, PoolTls, ProxyProtocolOut},
    net::start_connect_unix,
    proto::proxy_header::{self, HeaderAddresses},
    tls::describe,
    upstream::{
        broker::Endpoint,
        dial::{DialError, connect_from_local},
    },
};

/// Bytes that are read and discarded until the broker closes: nothing more is expected from it
/// after a DISCONNECT.
const MAX_DISCARDED_BYTES: u64 = 4096;

/// How a connection begins: with the pool's PROXY header and TLS, or with neither.
#[derive(Clone, Copy, Default)]
pub(crate) struct CheckTransport<'a> {
    proxy_header: Option<&'a ProxyProtocolOut>,
    tls: Option<&'a PoolTls>,
}

impl<'a> CheckTransport<'a> {
    pub(crate) fn of_pool(config: &'a config::Pool) -> Self {
        Self { proxy_header: config.send_proxy_protocol.as_ref(), tls: config.tls.as_ref() }
    }
}

/// The time by which a probe has to finish, and the timeout that it results from.
#[derive(Clone, Copy)]
pub(crate) struct ProbeDeadline {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
}

/// A bidirectional byte stream.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a broker, over TCP or a unix socket, with or without TLS.
pub(crate) type ProbeStream = Box<dyn Duplex>;

/// The address that one probe connects to.
#[derive(Clone, Copy)]
pub(crate) enum ProbeTarget<'a> {
    Ip(SocketAddr),
    Unix(&'a Path),
}

/// Connects to a broker, sends the PROXY header, and completes the TLS handshake.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    target: ProbeTarget<'_>,
    transport: CheckTransport<'_>,
    deadline: ProbeDeadline,
) -> Result<ProbeStream, DialError> {
    let connecting = async {
        let (mut stream, addresses) = match target {
            ProbeTarget::Ip(to) => {
                let stream = connect_ip(endpoint, to).await?;
                let from = stream.local_addr().map_err(DialError::Failed)?;
                (Box::new(stream) as ProbeStream, Some(HeaderAddresses::new(from, to)))
            }
            ProbeTarget::Unix(path) => {
                let stream = connect_unix(path).map_err(DialError::Failed)?;
                (Box::new(stream) as ProbeStream, None)
            }
        };
        let header = own_header(transport.proxy_header, addresses);
        stream.write_all(&header).await.map_err(DialError::Failed)?;
        Ok::<_, DialError>(stream)
    };
    let connected = timeout_at(deadline.at, connecting).await;
    let stream = connected.map_err(|_| DialError::TimedOut(deadline.timeout))??;
    let Some(tls) = transport.tls else { return Ok(stream) };
    let name = tls.name_for(&endpoint.address).ok_or(DialError::NoCertificateName)?;
    let handshake = TlsConnector::from(tls.client.clone()).connect(name, stream);
    match timeout_at(deadline.at, handshake).await {
        Ok(Ok(wrapped)) => Ok(Box::new(wrapped)),
        Ok(Err(error)) => Err(DialError::Failed(explained(error))),
        Err(_) => Err(DialError::NoTls(deadline.timeout)),
    }
}

/// The error of a handshake as sessions report it.
fn explained(error: io::Error) -> io::Error {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls.map(describe) {
        Some(text) => io::Error::new(error.kind(), text),
        None => error,
    }
}

async fn connect_ip(endpoint: &Endpoint, to: SocketAddr) -> Result<TcpStream, DialError> {
    // The port is not counted, as the metric covers only the ports of sessions.
    let (socket, _) = connect_from_local(endpoint, to, StdInstant::now())?;
    let connected = async {
        let stream = TcpStream::from_std(socket.into())?;
        // Writable once the connection is established or has failed.
        stream.writable().await?;
        stream.take_error()?.map_or(Ok(stream), Err)
    };
    connected.await.map_err(DialError::Failed)
}

/// Connects to a unix socket, which does not have to be waited for.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::from_std(StdUnixStream::from(start_connect_unix(path)?))
}

/// A header that names this end of the connection as the client. UNKNOWN and LOCAL would mean the
/// same, but Mosquitto 2.1 refuses UNKNOWN and closes the connection after LOCAL.
fn own_header(version: Option<&ProxyProtocolOut>, addresses: Option<HeaderAddresses>) -> Vec<u8> {
    match (version, addresses) {
        (None, _) => Vec::new(),
        (Some(ProxyProtocolOut::V1), _) => proxy_header::write_v1(addresses),
        (Some(ProxyProtocolOut::V2 { .. }), Some(_)) => {
            proxy_header::write_v2(addresses, None, b"", [])
        }
        (Some(ProxyProtocolOut::V2 { .. }), None) => proxy_header::V2_LOCAL.to_vec(),
    }
}

/// Closes this side and waits for the broker to close its own: closing at once with unread bytes
/// would reset the connection, which brokers log.
pub(crate) async fn close(mut stream: ProbeStream, deadline: ProbeDeadline) {
    let closing = async {
        stream.shutdown().await?;
        copy(&mut stream.take(MAX_DISCARDED_BYTES), &mut sink()).await
    };
    // The result of the probe is already known; how the connection ends does not change it.
    let _ = timeout_at(deadline.at, closing).await;
}
