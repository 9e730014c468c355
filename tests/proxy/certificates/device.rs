//! A client over TLS, which takes any certificate and remembers which.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ALL_VERSIONS, AlertDescription, ClientConfig, ClientConnection, HandshakeKind, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::{
    client::{CONNACK_V3, connect},
    harness::PATIENCE,
    pki::{Curious, Issued},
};

/// Who comes; its tickets are kept with it.
#[derive(Clone)]
pub(crate) struct Device(Arc<ClientConfig>);

pub(crate) struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Device {
    pub(crate) fn new(identity: Option<&Issued>) -> Self {
        Self::of_versions(identity, ALL_VERSIONS)
    }

    pub(crate) fn of_versions(
        identity: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Curious::default()));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Issued { cert, key, .. }) => {
                let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Self(config.into())
    }

    /// A session of 3.1.1; `Err` if the proxy or a broker will have none of it.
    pub(crate) fn session(&self, address: SocketAddr, id: &str) -> io::Result<Connection> {
        let name = ServerName::try_from("eu.example.com").unwrap();
        let tls = ClientConnection::new(self.0.clone(), name).unwrap();
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Connection(StreamOwned::new(tls, socket));
        connection.0.write_all(&connect(4, id))?;
        connection.expect(CONNACK_V3)?;
        Ok(connection)
    }

    /// The alert that answers an attempt at a session.
    #[track_caller]
    pub(crate) fn alert(&self, address: SocketAddr) -> AlertDescription {
        let Err(error) = self.session(address, "refused") else { panic!("it was taken") };
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            _ => panic!("{error}"),
        }
    }
}

impl Connection {
    /// The certificate that was shown.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.0.conn.peer_certificates().unwrap()[0]
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.expect(bytes).unwrap();
    }

    fn expect(&mut self, wanted: &[u8]) -> io::Result<()> {
        let mut read = vec![0; wanted.len()];
        self.0.read_exact(&mut read)?;
        if read == wanted {
            Ok(())
        } else {
            Err(io::Error::other(format!("{read:x?} is not {wanted:x?}")))
        }
    }
}
