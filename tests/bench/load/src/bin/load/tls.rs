//! TLS 1.3 of a client that offers what OpenSSL 3 does: each proxy chooses as an operator would meet it.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::fd::OwnedFd,
    path::Path,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mqtt_lb_bench::sys;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind,
    NamedGroup, SignatureScheme,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{
            cipher_suite::{
                TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
            },
            default_provider, kx_group,
        },
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    version::TLS13,
};

/// In the rig's certificate; the pinned certificate is what counts.
const SERVER_NAME: &str = "localhost";
/// Servers give one or two tickets a handshake, and each client under way uses one.
const MOST_TICKETS: usize = 1024;

/// The key exchange whose share clients send.
#[derive(Clone, Copy)]
pub enum KeyExchange {
    X25519,
    P256,
    X25519MlKem768,
}

pub struct Connector {
    config: Arc<ClientConfig>,
    resumes: bool,
}

pub struct Session {
    connection: ClientConnection,
}

impl FromStr for KeyExchange {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "x25519" => Ok(Self::X25519),
            "p256" => Ok(Self::P256),
            "x25519mlkem768" => Ok(Self::X25519MlKem768),
            _ => Err("no such key exchange".into()),
        }
    }
}

impl KeyExchange {
    /// Those offered; a share is sent for the first.
    fn groups(self) -> Vec<&'static dyn SupportedKxGroup> {
        match self {
            Self::X25519 => vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
            Self::P256 => vec![kx_group::SECP256R1, kx_group::X25519, kx_group::SECP384R1],
            Self::X25519MlKem768 => vec![kx_group::X25519MLKEM768],
        }
    }
}

impl Connector {
    /// Clients that accept nothing but the certificate in the file, and present tickets if they are to resume.
    /// `identity`: a file with their own certificate and its key.
    pub fn new(
        certificate: &Path,
        exchange: KeyExchange,
        resumes: bool,
        identity: Option<&Path>,
    ) -> io::Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![
                TLS13_AES_256_GCM_SHA384,
                TLS13_CHACHA20_POLY1305_SHA256,
                TLS13_AES_128_GCM_SHA256,
            ],
            kx_groups: exchange.groups(),
            ..default_provider()
        });
        let pinned = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        let verifier = Pinned {
            certificate: pinned,
            provider: provider.clone(),
            signed: AtomicBool::new(false),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = vec![CertificateDer::from_pem_file(file).map_err(io::Error::other)?];
                let key = PrivateKeyDer::from_pem_file(file).map_err(io::Error::other)?;
                builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        };
        config.resumption = if resumes {
            Resumption::store(Arc::new(Tickets::default()))
        } else {
            Resumption::disabled()
        };
        Ok(Self { config: Arc::new(config), resumes })
    }

    pub fn session(&self) -> io::Result<Session> {
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        Ok(Session { connection })
    }

    pub fn resumes(&self) -> bool {
        self.resumes
    }
}

impl Session {
    /// Goes on with the handshake; tells whether it is complete.
    pub fn open(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        self.flush(socket)?;
        while self.connection.is_handshaking() {
            if !self.receive(socket)? {
                return Ok(false);
            }
            // The Finished goes out on its own, as most TLS libraries send it.
            self.flush(socket)?;
        }
        Ok(true)
    }

    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other.map(Some),
            }
            if !self.receive(socket)? {
                return Ok(None);
            }
        }
    }

    pub fn write(&mut self, socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.connection.writer().write(bytes)?;
        self.flush(socket)?;
        Ok(taken)
    }

    pub fn holds_bytes(&self) -> bool {
        self.connection.wants_write()
    }

    pub fn flush(&mut self, socket: &OwnedFd) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn close(&mut self, socket: &OwnedFd) {
        self.connection.send_close_notify();
        // A peer that is gone needs no farewell.
        let _ = self.flush(socket);
    }

    /// Takes in what has arrived; tells whether there was anything.
    fn receive(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        match self.connection.read_tls(&mut Socket(socket)) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the proxy")),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if let Err(error) = self.connection.process_new_packets() {
            // The alert tells the proxy's log why.
            let _ = self.flush(socket);
            return Err(io::Error::other(format!("TLS: {error}")));
        }
        Ok(true)
    }
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a OwnedFd);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read(self.0, buffer)?.ok_or(ErrorKind::WouldBlock.into())
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::write_vectored(self.0, parts)?.ok_or(ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Accepts one certificate by its bytes. Only the first signature is checked, for the proof that the proxy has the
/// key: checks are two fifths of a client's work, with which the load and not the proxy would be what limits.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
    signed: AtomicBool,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.signed.load(Ordering::Relaxed) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls13_signature(message, certificate, signature, algorithms)?;
        self.signed.store(true, Ordering::Relaxed);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Tickets of all clients, each used once, the oldest first.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() < MOST_TICKETS {
            tickets.push_back(ticket);
        }
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
