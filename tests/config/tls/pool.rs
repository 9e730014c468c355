//! What brokers meet, and what is asked of them.

use std::sync::Arc;

use mqtt_lb::testing::config::{Address, CertificateFile, PoolTls};
use rustls::{CertificateError, Error, HandshakeKind, ServerConfig, pki_types::ServerName};

use super::{
    folder::Folder,
    handshake::{Failed, Shaken, shake},
    pki::{Ca, Issued, Leaf},
};

struct Site {
    folder: Folder,
    proxy: Issued,
    /// Brokers that want to see the proxy's certificate.
    broker: Arc<ServerConfig>,
}

impl Site {
    fn new() -> Self {
        let ca = Ca::new("brokers");
        let broker = ca.issue(&Leaf::new("broker", &["broker.internal", "10.0.0.7"]));
        let proxy = ca.issue(&Leaf::new("proxy", &[]));
        let folder = Folder::new([
            ("cert.pem", &broker.cert),
            ("key.pem", &broker.key),
            ("client.pem", &proxy.cert),
            ("client.key", &proxy.key),
            ("ca.pem", &ca.pem()),
            ("other.pem", &Ca::new("brokers").pem()),
        ]);
        // A listener is as good a server as any.
        let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }], client_auth: optional, \
                   client_ca: ca.pem }";
        let broker = folder
            .listener(tls)
            .unwrap()
            .listeners
            .remove(0)
            .tls
            .unwrap()
            .server
            .config_for(false)
            .clone();
        Self { folder, proxy, broker }
    }

    fn pool(&self, tls: &str) -> PoolTls {
        let config = self.folder.pool(tls).unwrap_or_else(|faults| panic!("{tls}: {faults:#?}"));
        config.pools.into_iter().next().unwrap().tls.unwrap()
    }

    fn dial(&self, tls: &PoolTls, address: &Address) -> Shaken {
        shake(&self.broker, &tls.client, tls.name_for(address).unwrap())
    }
}

fn host(name: &str) -> Address {
    Address::Host(name.into(), 8883)
}

fn ip(address: &str) -> Address {
    Address::Ip(address.parse().unwrap())
}

fn refusal(shaken: Shaken) -> CertificateError {
    match shaken.unwrap_err() {
        Failed::Client(Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_shows_a_certificate_of_the_ca_for_its_name() {
    let site = Site::new();
    let tls = site.pool("{ ca: ca.pem }");
    assert_eq!((tls.insecure, &tls.server_name, &*tls.certificates), (false, &None, &[][..]));
    for address in [host("broker.internal"), host("broker.internal."), ip("10.0.0.7:8883")] {
        let (broker, _) = site.dial(&tls, &address).unwrap();
        assert!(broker.peer_certificates().is_none());
    }
    for address in [host("other.internal"), ip("10.0.0.8:8883")] {
        let why = refusal(site.dial(&tls, &address));
        assert!(matches!(why, CertificateError::NotValidForNameContext { .. }), "{why:?}");
    }
    // One of the same name that is another.
    let why = refusal(site.dial(&site.pool("{ ca: other.pem }"), &host("broker.internal")));
    assert!(matches!(why, CertificateError::BadSignature | CertificateError::UnknownIssuer));
}

#[test]
fn server_name_applies_to_all_brokers() {
    let site = Site::new();
    let tls = site.pool("{ ca: ca.pem, server_name: broker.internal }");
    for address in [ip("192.0.2.1:1"), host("other.internal"), Address::Unix("/run/b".into())] {
        let (broker, _) = site.dial(&tls, &address).unwrap();
        assert_eq!(broker.server_name(), Some("broker.internal"));
    }
    let (broker, _) = site.dial(&tls, &ip("192.0.2.1:1")).unwrap();
    assert_eq!(broker.handshake_kind(), Some(HandshakeKind::Resumed));
    let tls = site.pool("{ ca: ca.pem, server_name: 10.0.0.7 }");
    assert_eq!(tls.name_for(&host("x")), Some(ServerName::try_from("10.0.0.7").unwrap()));
}

#[test]
fn the_proxy_shows_its_own_certificate() {
    let site = Site::new();
    let tls = site.pool("{ ca: ca.pem, cert: client.pem, key: client.key }");
    let (broker, _) = site.dial(&tls, &host("broker.internal")).unwrap();
    assert_eq!(broker.peer_certificates().unwrap()[0].to_vec(), site.proxy.der);
    let path = site.folder.path().join("client.pem");
    let file = CertificateFile { path, not_before: 946_684_800, not_after: 64_060_588_800 };
    assert_eq!(tls.certificates, [file]);
}

#[test]
fn insecure_skip_verify_accepts_any_certificate() {
    let site = Site::new();
    let tls = site.pool("{ insecure_skip_verify: true, min_version: \"1.3\" }");
    assert!(tls.insecure);
    site.dial(&tls, &host("anything.internal")).unwrap();
}

/// As the message about a missing `ca` proposes.
#[test]
fn the_systems_bundle_is_a_file_of_cas() {
    Site::new().pool("{ ca: /etc/ssl/certs/ca-certificates.crt }");
}
