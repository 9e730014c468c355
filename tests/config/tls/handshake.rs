//! Handshakes in memory, by rustls at both ends.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, Error, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::pki::{Curious, Issued};

/// Both ends of a finished handshake, or who failed it and why.
pub(super) type Shaken = Result<(ServerConnection, ClientConnection), Failed>;

#[derive(Debug, PartialEq)]
pub(super) enum Failed {
    Server(Error),
    Client(Error),
}

impl Failed {
    /// What the server has against the client's certificate.
    pub(super) fn certificate(self) -> CertificateError {
        match self {
            Self::Server(Error::InvalidCertificate(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Shaken {
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    while server.wants_write() || client.wants_write() {
        move_bytes(&mut Side::Client(&mut client), &mut Side::Server(&mut server))
            .map_err(Failed::Server)?;
        move_bytes(&mut Side::Server(&mut server), &mut Side::Client(&mut client))
            .map_err(Failed::Client)?;
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    Ok((server, client))
}

enum Side<'a> {
    Server(&'a mut ServerConnection),
    Client(&'a mut ClientConnection),
}

fn move_bytes(from: &mut Side<'_>, to: &mut Side<'_>) -> Result<(), Error> {
    let mut bytes = Vec::new();
    match from {
        Side::Server(side) => {
            while side.wants_write() && side.write_tls(&mut bytes).unwrap() > 0 {}
        }
        Side::Client(side) => {
            while side.wants_write() && side.write_tls(&mut bytes).unwrap() > 0 {}
        }
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        match to {
            Side::Server(side) => {
                side.read_tls(&mut bytes).unwrap();
                side.process_new_packets()?;
            }
            Side::Client(side) => {
                side.read_tls(&mut bytes).unwrap();
                side.process_new_packets()?;
            }
        }
    }
    Ok(())
}

/// A client that takes any certificate, of those that it can read.
#[derive(Default)]
pub(super) struct Device<'a> {
    pub(super) identity: Option<&'a Issued>,
    /// Empty: all.
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) only: Option<&'static SupportedProtocolVersion>,
    pub(super) alpn: Vec<&'a str>,
}

impl Device<'_> {
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let versions = self.only.map_or(vec![&TLS12, &TLS13], |only| vec![only]);
        let verifier = Curious(self.schemes.clone());
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(Issued { cert, key, .. }) => {
                let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.into()
    }

    /// Of a host name, or an IP address, with which there is no SNI.
    pub(super) fn connect(&self, server: &Arc<ServerConfig>, name: &str) -> Shaken {
        shake(server, &self.config(), ServerName::try_from(name.to_owned()).unwrap())
    }

    /// The certificate that it is shown.
    pub(super) fn sees(&self, server: &Arc<ServerConfig>, name: &str) -> Vec<u8> {
        let (_, client) = self.connect(server, name).unwrap();
        Connection::from(client).peer_certificates().unwrap()[0].to_vec()
    }
}
