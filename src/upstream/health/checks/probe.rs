//! One probe of one address: connect, ask, and leave politely, all within the check's timeout.

use std::{error::Error, fmt, io, net::SocketAddr, time::Duration};

use rustix::io::Errno;
use tokio::time::Instant;

use super::{
    http, mqtt,
    reach::{Deadline, Site, Way, connect, leave},
};
use crate::{
    config::{ActiveCheck, Probe, Secret},
    proto::mqtt::{Malformed, Version, reason},
    upstream::{broker::Endpoint, dial::DialError},
};

/// Asks the broker of `endpoint` at `site` whether it is well. `client_id` is who an MQTT probe says
/// it is.
///
/// # Errors
/// In an operator's words, what was wrong.
pub(in crate::upstream) async fn probe(
    check: &ActiveCheck,
    endpoint: &Endpoint,
    site: Site<'_>,
    way: Way<'_>,
    client_id: &str,
) -> Result<(), Failure> {
    let deadline = Deadline { at: Instant::now() + check.timeout, timeout: check.timeout };
    match &check.probe {
        Probe::Tcp => {
            leave(connect(endpoint, site, way, deadline).await?, deadline).await;
            Ok(())
        }
        Probe::Mqtt { username, password, expect } => {
            let password = password.as_ref().map(Secret::reveal);
            let packet = mqtt::connect(client_id, check.timeout, username.as_deref(), password);
            let mut stream = connect(endpoint, site, way, deadline).await?;
            let code = mqtt::ask(&mut stream, &packet, deadline).await?;
            leave(stream, deadline).await;
            if expect.contains(&code) {
                return Ok(());
            }
            Err(Failure::Refused { code, expected: expect.clone() })
        }
        Probe::Http { port, path, expect, login } => {
            let Site::Ip(mut address) = site else { return Err(Failure::NoPort) };
            address.set_port(*port);
            let login = login.as_ref().map(|(username, password)| (&**username, password.reveal()));
            let request = http::get(&endpoint.address, address, path, login)?;
            let stream = connect(endpoint, Site::Ip(address), Way::default(), deadline).await?;
            let status = http::ask(stream, request, deadline).await?;
            if expect.contains(&status) {
                return Ok(());
            }
            Err(Failure::Status { status, expected: expect.clone() })
        }
    }
}

/// Why a probe was not good.
#[derive(Debug, thiserror::Error)]
pub(in crate::upstream) enum Failure {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Likely: the broker hangs, or what it asks about its clients does.
    #[error("no CONNACK within {0:?}")]
    NoConnack(Duration),
    /// Likely: a broker at its limit of connections, or something in front of no broker.
    #[error("closed before a CONNACK")]
    Closed,
    #[error("broken before a CONNACK: {0}")]
    Broken(#[source] io::Error),
    /// Likely: another protocol at that port, or TLS.
    #[error("no CONNACK: {0}")]
    NotConnack(#[from] Malformed),
    #[error("CONNACK code {code} ({}), expected {}", reason::name(Version::V311, *code), Either(expected))]
    Refused { code: u8, expected: Vec<u8> },
    #[error("http checks need an IP address or a host name, and this broker has a unix socket")]
    NoPort,
    #[error("cannot be asked for: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no HTTP answer within {0:?}")]
    NoHttp(Duration),
    /// Likely: another protocol at that port.
    #[error("no HTTP answer: {}", with_source(.0))]
    Http(#[from] hyper::Error),
    #[error("status {status}, expected {}", Either(expected))]
    Status { status: u16, expected: Vec<u16> },
    /// Of a host with several addresses: each of them.
    #[error("{}", Each(.0))]
    Each(Vec<(SocketAddr, Self)>),
}

impl Failure {
    pub(in crate::upstream) fn is_a_timeout(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_a_timeout(),
            Self::NoConnack(_) | Self::NoHttp(_) => true,
            Self::Each(failures) => failures.iter().any(|(_, failure)| failure.is_a_timeout()),
            _ => false,
        }
    }

    /// Whether nobody was asked, because this host has no descriptor, memory or port left for it.
    pub(in crate::upstream) fn is_a_shortage_here(&self) -> bool {
        match self {
            Self::Dial(DialError::NoPort(_)) => true,
            Self::Dial(DialError::Failed(error)) => matches!(
                Errno::from_io_error(error),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
            ),
            Self::Each(failures) => {
                failures.iter().any(|(_, failure)| failure.is_a_shortage_here())
            }
            _ => false,
        }
    }
}

/// Numbers, as "0 or 5".
struct Either<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Either<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if n == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

/// What came of each address, as "10.0.0.2:1883: closed before a CONNACK; 10.0.0.3:1883: …".
struct Each<'a>(&'a [(SocketAddr, Failure)]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (address, failure)) in self.0.iter().enumerate() {
            write!(f, "{}{address}: {failure}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// hyper says in the source alone how a connection broke.
fn with_source(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
