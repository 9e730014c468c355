//! What stands between a client and the proxy with `--tls`: it takes MQTT and puts it into TLS, so
//! that clients need no TLS of their own; and the certificates for that.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider, pki_types::ServerName,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

/// Who vouches for the proxy, for clients of the demo to trust.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Writes `ca.pem`, and `server.pem` and `server.key` for `localhost`, into `folder`.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "mqtt-lb demo");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(["localhost".to_owned()])?;
        let server = server.signed_by(&key, &authority)?;
        fs::write(folder.join("ca.pem"), authority.pem())?;
        fs::write(folder.join("server.pem"), server.pem())?;
        fs::write(folder.join("server.key"), key.serialize_pem())?;
        Ok(Self(authority))
    }

    /// Takes connections on the address that it returns, and opens one by TLS at `proxy` for each.
    pub(crate) async fn wrap(&self, proxy: SocketAddr) -> anyhow::Result<SocketAddr> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that fails here ends; the proxy says so in its log.
                tokio::spawn(carry(connector.clone(), client, proxy));
            }
        });
        Ok(address)
    }
}

async fn carry(tls: TlsConnector, mut client: TcpStream, proxy: SocketAddr) -> anyhow::Result<()> {
    let socket = TcpStream::connect(proxy).await?;
    client.set_nodelay(true)?;
    socket.set_nodelay(true)?;
    let mut stream = tls.connect(ServerName::try_from("localhost")?, socket).await?;
    copy_bidirectional(&mut client, &mut stream).await?;
    Ok(())
}
