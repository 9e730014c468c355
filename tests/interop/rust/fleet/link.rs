//! A client's connection: TCP, with a PROXY header, TLS or WebSocket on it.

use std::{
    collections::BTreeMap, error::Error, fs, io, net::SocketAddr, sync::Arc, time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::packets::Packet;

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

const PROXY_HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 1883\r\n";

trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// The ways to the proxy, by name: `tcp`, `proxy`, `tls12`, `tls13`, `mtls`, `ws`, `wss`; and how the
/// clients use them.
pub(crate) struct Ways {
    /// Between two messages of most clients.
    pub(crate) pause: Duration,
    /// Whether a client connects again when its session has ended.
    pub(crate) reconnect: bool,
    addresses: BTreeMap<String, SocketAddr>,
    ca: Option<String>,
    identity: Option<String>,
}

pub(crate) struct Link {
    transport: Box<dyn Transport>,
    is_websocket: bool,
    /// Frames that are not complete.
    frames: Vec<u8>,
    /// Bytes of MQTT.
    received: Vec<u8>,
}

impl Ways {
    pub(crate) fn from_arguments(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut ways = Self {
            pause: Duration::from_secs(1),
            reconnect: false,
            addresses: BTreeMap::new(),
            ca: None,
            identity: None,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--ca" => ways.ca = arguments.next(),
                "--identity" => ways.identity = arguments.next(),
                "--reconnect" => ways.reconnect = true,
                "--pause-ms" => {
                    let pause = arguments.next().ok_or("--pause-ms needs a number")?;
                    ways.pause = Duration::from_millis(pause.parse()?);
                }
                way => {
                    let (name, address) = way.split_once('=').ok_or("a way is NAME=ADDRESS")?;
                    ways.addresses.insert(name.to_owned(), address.parse()?);
                }
            }
        }
        Ok(ways)
    }

    /// The way of a client.
    pub(crate) fn of(&self, number: usize) -> &str {
        let index = number % self.addresses.len();
        self.addresses.keys().nth(index).map_or("", String::as_str)
    }

    pub(crate) async fn open(&self, way: &str) -> Result<Link, Box<dyn Error>> {
        let mut tcp = TcpStream::connect(self.addresses[way]).await?;
        tcp.set_nodelay(true)?;
        if way == "proxy" {
            tcp.write_all(PROXY_HEADER).await?;
        }
        let versions: &[_] = if way == "tls12" { &[&TLS12] } else { &[&TLS13] };
        let transport: Box<dyn Transport> = match way {
            "tls12" | "tls13" | "mtls" | "wss" => {
                let connector = TlsConnector::from(self.tls(versions, way == "mtls")?);
                let name = ServerName::try_from("localhost")?;
                Box::new(connector.connect(name, tcp).await?)
            }
            _ => Box::new(tcp),
        };
        let is_websocket = matches!(way, "ws" | "wss");
        let (frames, received) = (Vec::new(), Vec::new());
        let mut link = Link { transport, is_websocket, frames, received };
        if is_websocket {
            link.upgrade().await?;
        }
        Ok(link)
    }

    fn tls(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        with_identity: bool,
    ) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        let ca = fs::read(self.ca.as_ref().ok_or("TLS needs --ca")?)?;
        roots.add(CertificateDer::from_pem_slice(&ca)?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)?
            .with_root_certificates(roots);
        if !with_identity {
            return Ok(Arc::new(builder.with_no_client_auth()));
        }
        let identity = fs::read(self.identity.as_ref().ok_or("mtls needs --identity")?)?;
        let chain = CertificateDer::pem_slice_iter(&identity).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&identity)?;
        Ok(Arc::new(builder.with_client_auth_cert(chain, key)?))
    }
}

impl Link {
    async fn upgrade(&mut self) -> Result<(), Box<dyn Error>> {
        self.transport.write_all(REQUEST).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.transport.read_u8().await?);
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&head).into())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wire = self.wire(bytes);
        self.transport.write_all(&wire).await?;
        self.transport.flush().await
    }

    /// The bytes to be written for these of MQTT.
    pub(crate) fn wire(&self, bytes: &[u8]) -> Vec<u8> {
        if self.is_websocket { frame(0x82, bytes) } else { bytes.to_vec() }
    }

    /// Writes a part of [`Self::wire`].
    pub(crate) async fn send_wire(&mut self, part: &[u8]) -> io::Result<()> {
        self.transport.write_all(part).await?;
        self.transport.flush().await
    }

    /// The next packet; reads at most `chunk` bytes at a time. Nothing is lost if it is dropped
    /// before it is ready.
    pub(crate) async fn receive(&mut self, chunk: usize) -> io::Result<Packet> {
        loop {
            if let Some(packet) = Packet::take(&mut self.received) {
                return Ok(packet);
            }
            let mut buffer = vec![0; chunk];
            let read = self.transport.read(&mut buffer).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.is_websocket {
                self.frames.extend_from_slice(&buffer[..read]);
                self.take_frames()?;
            } else {
                self.received.extend_from_slice(&buffer[..read]);
            }
        }
    }

    /// Takes the payload of complete frames. Servers do not mask them (RFC 6455, section 5.1).
    fn take_frames(&mut self) -> io::Result<()> {
        while let Some(&[first, short]) = self.frames.first_chunk() {
            let wide = match short {
                0x7E => 2,
                0x7F => 8,
                _ => 0,
            };
            let Some(bytes) = self.frames.get(2..2 + wide) else { return Ok(()) };
            let long = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            let len = if wide == 0 { usize::from(short) } else { long };
            let Some(payload) = self.frames.get(2 + wide..2 + wide + len) else { return Ok(()) };
            match first & 0x0F {
                0 | 2 => self.received.extend_from_slice(payload),
                9 => {}
                opcode => return Err(io::Error::other(format!("frame of opcode {opcode}"))),
            }
            self.frames.drain(..2 + wide + len);
        }
        Ok(())
    }
}

/// A masked frame, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ ..0x1_0000 => {
            frame.push(0x80 | 0x7E);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 0x7F);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
