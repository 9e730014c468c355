//! The other end of a connection: rustls with buffers of its own, over a socket pair.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::PrivateKeyDer,
    version::{TLS12, TLS13},
};

use crate::{proto::websocket::frame, tls::TlsServer};

/// A bad record: its tag is wrong for every key.
pub(super) const BAD_RECORD: [u8; 37] = {
    let mut record = [0xA5; 37];
    (record[0], record[1], record[2], record[3], record[4]) = (23, 3, 3, 0, 32);
    record
};

/// Both sides' configuration.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) server: TlsServer,
    pub(super) client: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(is_12: bool) -> Self {
        let versions: &[_] = if is_12 { &[&TLS12] } else { &[&TLS13] };
        Self::with(&Arc::new(default_provider()), versions)
    }

    pub(super) fn with(
        provider: &Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        Self { server: TlsServer::with_one_config(server), client: Arc::new(client) }
    }
}

/// A client.
pub(super) struct Peer {
    wire: UnixStream,
    pub(super) tls: Option<ClientConnection>,
    has_frames: bool,
    /// The plaintext received.
    received: Vec<u8>,
    /// The error that rustls reported about the received bytes.
    pub(super) complaint: Option<rustls::Error>,
    /// Records that wait to be written, and how many bytes are written at a time.
    waiting: Vec<u8>,
    pub(super) per_pump: usize,
}

impl Peer {
    pub(super) fn new(wire: UnixStream, tls: Option<&Tls>, has_frames: bool) -> Self {
        wire.set_nonblocking(true).unwrap();
        let tls = tls.map(|tls| {
            let name = "localhost".try_into().unwrap();
            ClientConnection::new(tls.client.clone(), name).unwrap()
        });
        let (received, waiting, complaint) = Default::default();
        Self { wire, tls, has_frames, received, complaint, waiting, per_pump: usize::MAX }
    }

    /// The client's records with `bytes`, or the bytes themselves.
    pub(super) fn encoded(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::new();
        if self.has_frames {
            assert!(bytes.len() < 126);
            // A zero mask leaves the payload unchanged.
            encoded.extend([0x82, 0x80 | bytes.len() as u8, 0, 0, 0, 0]);
        }
        encoded.extend(bytes);
        let Some(tls) = &mut self.tls else { return encoded };
        tls.writer().write_all(&encoded).unwrap();
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Writes `wire` as it is. The other side may be gone.
    pub(super) fn write(&mut self, wire: &[u8]) {
        let written = self.wire.write(wire);
        assert!(written.as_ref().map_or(true, |n| *n == wire.len()), "no room: {written:?}");
    }

    /// Shuts down this side of the connection.
    pub(super) fn end(&self) {
        self.wire.shutdown(Shutdown::Write).unwrap();
    }

    fn write_some(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        while tls.wants_write() {
            tls.write_tls(&mut self.waiting).unwrap();
        }
        let len = self.waiting.len().min(self.per_pump);
        if let Ok(written) = self.wire.write(&self.waiting[..len]) {
            self.waiting.drain(..written);
        }
    }

    /// Sends and reads everything available.
    pub(super) fn pump(&mut self) {
        self.write_some();
        let mut wire = Vec::new();
        match self.wire.read_to_end(&mut wire) {
            Ok(_) => {}
            Err(error) if is_expected(&error) => {}
            Err(error) => panic!("{error}"),
        }
        let Some(tls) = &mut self.tls else { return self.received.extend(wire) };
        let mut rest = &wire[..];
        while !rest.is_empty() && self.complaint.is_none() {
            tls.read_tls(&mut rest).unwrap();
            self.complaint = tls.process_new_packets().err();
            let mut plain = [0; 4096];
            while let Ok(n @ 1..) = tls.reader().read(&mut plain) {
                self.received.extend(&plain[..n]);
            }
        }
        self.write_some();
    }

    /// The payload received so far, without the frames around it.
    pub(super) fn received(&self) -> Vec<u8> {
        if self.has_frames { self.frames().0 } else { self.received.clone() }
    }

    /// The Pings received so far.
    pub(super) fn pings(&self) -> usize {
        self.frames().1
    }

    /// The payload of the frames received so far, and the number of Pings.
    fn frames(&self) -> (Vec<u8>, usize) {
        let (mut payload, mut pings, mut rest) = (Vec::new(), 0, &self.received[..]);
        while let [first, length, after @ ..] = rest {
            let (len, after) = match (length, after) {
                (126, [high, low, after @ ..]) => {
                    (usize::from(u16::from_be_bytes([*high, *low])), after)
                }
                (126, _) => break,
                (len, after) => (usize::from(*len), after),
            };
            let here = len.min(after.len());
            match *first {
                0x82 => payload.extend(&after[..here]),
                0x89 => {
                    assert_eq!(here, 0, "a Ping with a payload");
                    pings += 1;
                }
                first => assert_eq!(first, 0x80 | frame::CLOSE, "no frame of ours"),
            }
            rest = &after[here..];
        }
        (payload, pings)
    }
}

fn is_expected(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset)
}
