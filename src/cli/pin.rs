//! `mqtt-lb pin`: the fingerprints of the certificate that a broker presents, for `tls.pin`.

use std::{
    io::{self, ErrorKind},
    net::{TcpStream, ToSocketAddrs},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use rustls::{
    ClientConnection,
    pki_types::{CertificateDer, ServerName},
};
use x509_parser::parse_x509_certificate;

use super::{check::print, exit_code::FAILED};
use crate::{
    escape::plain,
    tls::{BrokerCheck, Client, Pins, TlsVersion},
};

/// How long connecting and the handshake may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(super) struct PinArgs {
    /// The broker, such as broker.example.com:8883 or `[2001:db8::7]:8883`.
    #[arg(value_name = "HOST:PORT")]
    broker: String,
    /// The host name to ask for [default: HOST].
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// A protocol to offer by ALPN, as `tls.alpn` does; may be repeated.
    #[arg(long, value_name = "NAME")]
    alpn: Vec<String>,
}

pub(super) fn pin(args: &PinArgs) -> ExitCode {
    match presented_certificate(args) {
        Ok(certificate) => {
            eprintln!("{}", plain(&warning(&args.broker, &certificate)));
            print(&yaml(&Pins::of(&certificate)))
        }
        Err(error) => {
            eprintln!("mqtt-lb pin: {}", plain(&format!("{error:#}")));
            ExitCode::from(FAILED)
        }
    }
}

/// The pins as keys of `tls`.
fn yaml(Pins { public_key, certificate }: &Pins) -> String {
    let key = public_key.map_or_else(String::new, |key| {
        format!("  # The public key, which may stay when the certificate is renewed.\n  - {key}\n")
    });
    let comment = if key.is_empty() { "" } else { "# " };
    format!(
        "pin:\n{key}  # The certificate, which changes with each renewal.\n  {comment}- {certificate}\n"
    )
}

fn warning(broker: &str, certificate: &CertificateDer<'_>) -> String {
    let what = match parse_x509_certificate(certificate) {
        Ok((_, parsed)) => format!(
            "a certificate of {}, issued by {}, valid until {}",
            parsed.subject(),
            parsed.issuer(),
            parsed.validity().not_after,
        ),
        Err(_) => "a malformed certificate".to_owned(),
    };
    format!(
        "warning: {broker} presents {what}. These pins trust the server that answers there now: \
         compare them on the broker's host, with openssl x509 -in FILE -pubkey -noout | openssl pkey \
         -pubin -outform der | openssl dgst -sha256 -binary | base64"
    )
}

/// Also of a broker that ends the handshake later, because it asks for a certificate itself.
fn presented_certificate(args: &PinArgs) -> anyhow::Result<CertificateDer<'static>> {
    let deadline = Instant::now() + TIMEOUT;
    let name = args.sni.as_deref().unwrap_or_else(|| host(&args.broker));
    let name = ServerName::try_from(name.trim_end_matches('.').to_owned())
        .map_err(|_| anyhow!("{name} is not a host name; add --sni NAME"))?;
    let client = Client {
        check: BrokerCheck::Any,
        identity: None,
        min_version: TlsVersion::default(),
        alpn: args.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
    };
    let mut tls = ClientConnection::new(Arc::new(client.config()?), name)?;
    let mut socket = connect(&args.broker, deadline)?;
    let handshake = shake_hands(&mut tls, &mut socket, deadline);
    match tls.peer_certificates() {
        Some([certificate, ..]) => Ok(certificate.clone()),
        _ => Err(handshake.err().unwrap_or_else(|| anyhow!("no certificate was presented"))),
    }
}

/// `HOST` of `HOST:PORT`, without the brackets of an IPv6 address.
fn host(broker: &str) -> &str {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn connect(broker: &str, deadline: Instant) -> anyhow::Result<TcpStream> {
    let addresses = broker.to_socket_addrs().with_context(|| format!("cannot look up {broker}"))?;
    let mut last = anyhow!("{broker} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, time_left(deadline)?) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = anyhow!("cannot connect to {address}: {error}"),
        }
    }
    Err(last)
}

fn shake_hands(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    deadline: Instant,
) -> anyhow::Result<()> {
    while tls.is_handshaking() {
        let left = time_left(deadline)?;
        socket.set_write_timeout(Some(left))?;
        socket.set_read_timeout(Some(left))?;
        while tls.wants_write() {
            tls.write_tls(socket).map_err(|error| slow(&error))?;
        }
        if tls.is_handshaking() && tls.read_tls(socket).map_err(|error| slow(&error))? == 0 {
            bail!("the TLS handshake was not finished: the connection was closed");
        }
        let read = tls.process_new_packets();
        // An alert is sent, if the peer still listens.
        let _ = tls.write_tls(socket);
        read.context("the TLS handshake failed")?;
    }
    Ok(())
}

fn slow(error: &io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => timed_out(),
        _ => anyhow!("the connection was lost in the TLS handshake: {error}"),
    }
}

fn time_left(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

fn timed_out() -> anyhow::Error {
    anyhow!("no TLS handshake within {TIMEOUT:?}")
}
