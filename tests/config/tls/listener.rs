//! What a listener's clients meet.

use std::sync::Arc;

use mqtt_lb::testing::config::{CertificateFile, ListenerTls, RevocationFile};
use rcgen::{PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::{
    AlertDescription, CertificateError, Error, HandshakeKind, NamedGroup, ProtocolVersion,
    ServerConfig, SignatureScheme,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::{
    folder::Folder,
    handshake::{Device, Failed, shake},
    pki::{Ca, Issued, Leaf, years},
};

/// 1 January 2000, 4000 and 2025, in Unix time.
const Y2000: i64 = 946_684_800;
const Y4000: i64 = 64_060_588_800;
const Y2025: i64 = 1_735_689_600;

fn load(folder: &Folder, tls: &str) -> ListenerTls {
    let config = folder.listener(tls).unwrap_or_else(|faults| panic!("{tls}: {faults:#?}"));
    config.listeners.into_iter().next().unwrap().tls.unwrap()
}

/// A listener with these certificates, in this order.
fn showing(certificates: &[&Issued]) -> Arc<ServerConfig> {
    let folder = Folder::new([]);
    let mut list = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        folder.write(&format!("{index}.pem"), &certificate.cert);
        folder.write(&format!("{index}.key"), &certificate.key);
        list.push(format!("{{ cert: {index}.pem, key: {index}.key }}"));
    }
    load(&folder, &format!("{{ certificates: [{}] }}", list.join(", ")))
        .server
        .config_for(false)
        .clone()
}

#[test]
fn the_server_name_selects_the_certificate() {
    let ca = Ca::new("ca");
    let first = ca.issue(&Leaf::new("first", &["first.example.com", "10.0.0.7"]));
    let exact = ca.issue(&Leaf::new("exact", &["Eu.Example.com", "eu.example.org"]));
    let wild = ca.issue(&Leaf::new("wild", &["*.example.com", "example.com"]));
    // The common name alone is no name of a host.
    let nameless = ca.issue(&Leaf::new("cn.example.net", &[]));
    let server = showing(&[&first, &exact, &wild, &nameless]);
    for (name, wanted) in [
        ("first.example.com", &first),
        ("eu.example.com", &exact),
        ("EU.example.COM", &exact),
        ("eu.example.org", &exact),
        ("us.example.com", &wild),
        ("example.com", &wild),
        // A wildcard is one label.
        ("a.eu.example.com", &first),
        ("example.org", &first),
        ("com", &first),
        ("cn.example.net", &first),
        // Nothing is asked for.
        ("10.0.0.8", &first),
    ] {
        for only in [&TLS12, &TLS13] {
            let device = Device { only: Some(only), ..Device::default() };
            assert!(device.sees(&server, name) == wanted.der, "{name} {only:?}");
        }
    }
}

#[test]
fn of_several_certificates_with_a_name_the_first_that_the_client_supports_is_shown() {
    use SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519, RSA_PKCS1_SHA256, RSA_PSS_SHA256};

    let ca = Ca::new("ca");
    let hosts = &["a.example.com"];
    let ecdsa = ca.issue(&Leaf::new("ecdsa", hosts));
    let ed25519 = ca.issue(&Leaf { algorithm: &PKCS_ED25519, ..Leaf::new("ed", hosts) });
    let rsa_leaf = Leaf::new("rsa", &["*.example.com", "a.example.com"]);
    let rsa = ca.issue(&Leaf { algorithm: &PKCS_RSA_SHA256, ..rsa_leaf });
    let server = showing(&[&ecdsa, &rsa, &ed25519]);
    for (schemes, name, wanted) in [
        (vec![], "a.example.com", &ecdsa),
        (vec![ED25519, ECDSA_NISTP256_SHA256], "a.example.com", &ecdsa),
        (vec![ED25519], "a.example.com", &ed25519),
        (vec![RSA_PSS_SHA256, RSA_PKCS1_SHA256], "a.example.com", &rsa),
        (vec![], "b.example.com", &rsa),
        // The default is all that has a name of the first.
        (vec![], "10.0.0.8", &ecdsa),
        (vec![RSA_PSS_SHA256], "10.0.0.8", &rsa),
    ] {
        let device = Device { schemes: schemes.clone(), ..Device::default() };
        assert!(device.sees(&server, name) == wanted.der, "{name} {schemes:?}");
    }
    let device = Device { schemes: vec![ED25519], ..Device::default() };
    let failed = device.connect(&server, "b.example.com").unwrap_err();
    assert!(matches!(failed, Failed::Server(Error::PeerIncompatible(_))), "{failed:?}");
}

#[test]
fn defaults_of_listener_tls() {
    let issued = Ca::new("ca").issue(&Leaf::new("a", &["a.example.com"]));
    let folder = Folder::new([("cert.pem", &issued.cert), ("key.pem", &issued.key)]);
    let tls = load(&folder, "{ certificates: [{ cert: '${NAME}.pem', key: key.pem }] }");
    let path = folder.path().join("cert.pem");
    let file = CertificateFile { path, not_before: Y2000, not_after: Y4000 };
    assert_eq!((tls.certificates, tls.revocation), (vec![file], None));

    for (only, version) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let device = Device { only: Some(only), alpn: vec!["mqtt"], ..Device::default() };
        let (server, client) =
            device.connect(tls.server.config_for(false), "a.example.com").unwrap();
        assert_eq!(server.protocol_version(), Some(version));
        assert_eq!(server.server_name(), Some("a.example.com"));
        assert_eq!((server.peer_certificates(), client.alpn_protocol()), (None, None));
        if only.version == ProtocolVersion::TLSv1_3 {
            let group = server.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
            assert_eq!(client.tls13_tickets_received(), 1);
        }
    }
}

#[test]
fn a_client_resumes_until_the_next_load() {
    use HandshakeKind::{Full, Resumed};

    let issued = Ca::new("ca").issue(&Leaf::new("a", &["a.example.com"]));
    let folder = Folder::new([("cert.pem", &issued.cert), ("key.pem", &issued.key)]);
    let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }] }";
    for only in [&TLS12, &TLS13] {
        let server = || load(&folder, tls).server.config_for(false).clone();
        let (before, after) = (server(), server());
        let device = Device { only: Some(only), ..Device::default() }.config();
        let kind = |server| {
            let name = ServerName::try_from("a.example.com").unwrap();
            shake(server, &device, name).unwrap().0.handshake_kind().unwrap()
        };
        let kinds = [kind(&before), kind(&before), kind(&before), kind(&after), kind(&after)];
        assert_eq!(kinds, [Full, Resumed, Resumed, Full, Resumed], "{only:?}");
    }
}

#[test]
fn min_version_and_alpn() {
    let issued = Ca::new("ca").issue(&Leaf::new("a", &["a.example.com"]));
    let folder = Folder::new([("cert.pem", &issued.cert), ("key.pem", &issued.key)]);
    let with = |more: &str| {
        load(&folder, &format!("{{ certificates: [{{ cert: cert.pem, key: key.pem }}], {more} }}"))
            .server
            .config_for(false)
            .clone()
    };
    let old = Device { only: Some(&TLS12), ..Device::default() };
    let failed = old.connect(&with("min_version: \"1.3\""), "a.example.com").unwrap_err();
    assert!(matches!(failed, Failed::Server(Error::PeerIncompatible(_))), "{failed:?}");
    // As YAML reads it, that is a number, and means the same.
    old.connect(&with("min_version: 1.2"), "a.example.com").unwrap();

    let server = with("alpn: [mqtt, x-amzn-mqtt-ca]");
    let agreed = |alpn: Vec<&str>| {
        let device = Device { alpn, ..Device::default() };
        device.connect(&server, "a.example.com").map(|(server, _)| {
            server.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
        })
    };
    assert_eq!(agreed(vec!["x-amzn-mqtt-ca", "mqtt"]).unwrap().as_deref(), Some("mqtt"));
    assert_eq!(agreed(vec!["h2", "x-amzn-mqtt-ca"]).unwrap().as_deref(), Some("x-amzn-mqtt-ca"));
    assert_eq!(agreed(vec![]).unwrap(), None);
    let failed = agreed(vec!["h2"]).unwrap_err();
    assert_eq!(failed, Failed::Server(Error::NoApplicationProtocol));
}

/// A CA with three clients, one of them revoked, and a client of another CA.
struct Fleet {
    folder: Folder,
    good: Issued,
    revoked: Issued,
    expired: Issued,
    stranger: Issued,
    of_other_ca: Issued,
}

impl Fleet {
    fn new() -> Self {
        let (ca, other) = (Ca::new("clients"), Ca::new("others"));
        let server = ca.issue(&Leaf::new("a", &["a.example.com"]));
        let authorities = ca.pem() + &other.pem();
        let folder = Folder::new([
            ("cert.pem", &server.cert),
            ("key.pem", &server.key),
            ("ca.pem", &authorities),
            ("late.crl", &ca.crl(&[13], 2025)),
            ("both.crl", &(ca.crl(&[13], 2030) + &other.crl(&[], 2025))),
        ]);
        Self {
            folder,
            good: ca.issue(&Leaf::new("device-1", &[])),
            revoked: ca.issue(&Leaf { serial: 13, ..Leaf::new("device-2", &[]) }),
            expired: ca.issue(&Leaf { valid: years(2000, 2020), ..Leaf::new("device-3", &[]) }),
            stranger: Ca::new("nobody").issue(&Leaf::new("device-4", &[])),
            of_other_ca: other.issue(&Leaf::new("device-5", &[])),
        }
    }

    fn listener(&self, more: &str) -> ListenerTls {
        let certificates = "certificates: [{ cert: cert.pem, key: key.pem }]";
        load(&self.folder, &format!("{{ {certificates}, {more} }}"))
    }
}

fn come(server: &Arc<ServerConfig>, identity: Option<&Issued>) -> Result<Option<Vec<u8>>, Failed> {
    let device = Device { identity, ..Device::default() };
    let (server, _) = device.connect(server, "a.example.com")?;
    Ok(server.peer_certificates().map(|chain| chain[0].to_vec()))
}

#[test]
fn client_authentication() {
    let fleet = Fleet::new();
    let required =
        fleet.listener("client_auth: required, client_ca: ca.pem").server.config_for(false).clone();
    let optional =
        fleet.listener("client_auth: optional, client_ca: ca.pem").server.config_for(false).clone();
    let none = fleet.listener("client_auth: none").server.config_for(false).clone();
    for server in [&required, &optional] {
        // Nobody has asked who was revoked.
        for known in [&fleet.good, &fleet.revoked, &fleet.of_other_ca] {
            assert_eq!(come(server, Some(known)), Ok(Some(known.der.clone())));
        }
        let why = come(server, Some(&fleet.expired)).unwrap_err().certificate();
        assert!(matches!(why, CertificateError::ExpiredContext { .. }), "{why:?}");
        let why = come(server, Some(&fleet.stranger)).unwrap_err().certificate();
        assert_eq!(why, CertificateError::UnknownIssuer);
    }
    assert_eq!(come(&required, None), Err(Failed::Server(Error::NoCertificatesPresented)));
    assert_eq!(come(&optional, None), Ok(None));
    // Nobody is asked, so nobody is wrong.
    assert_eq!(come(&none, Some(&fleet.stranger)), Ok(None));
}

#[test]
fn revoked_clients_and_clients_of_a_ca_without_a_crl_are_refused() {
    let fleet = Fleet::new();
    let tls = "client_auth: required, client_ca: ca.pem, client_crl:";
    let late = fleet.listener(&format!("{tls} late.crl"));
    let path = fleet.folder.path().join("late.crl");
    assert_eq!(late.revocation, Some(RevocationFile { path, next_update: Y2025 }));
    let both = fleet.listener(&format!("{tls} both.crl"));
    // The first of them to run out.
    assert_eq!(both.revocation.unwrap().next_update, Y2025);
    for server in [late.server.config_for(false), both.server.config_for(false)] {
        // A list that is late is a list.
        assert!(come(server, Some(&fleet.good)).is_ok());
        let why = come(server, Some(&fleet.revoked)).unwrap_err().certificate();
        assert_eq!(why, CertificateError::Revoked);
    }
    let why =
        come(late.server.config_for(false), Some(&fleet.of_other_ca)).unwrap_err().certificate();
    assert_eq!(why, CertificateError::UnknownRevocationStatus);
    assert!(come(both.server.config_for(false), Some(&fleet.of_other_ca)).is_ok());
}

/// A ticket admits its client until the CRLs are loaded again.
#[test]
fn a_ticket_does_not_outlive_a_new_list() {
    let fleet = Fleet::new();
    let tls = "client_auth: required, client_ca: ca.pem";
    let (before, after) =
        (fleet.listener(tls), fleet.listener(&format!("{tls}, client_crl: late.crl")));
    for only in [&TLS12, &TLS13] {
        let device =
            Device { identity: Some(&fleet.revoked), only: Some(only), ..Device::default() };
        let device = device.config();
        let name = ServerName::try_from("a.example.com").unwrap();
        let (full, _) = shake(before.server.config_for(false), &device, name.clone()).unwrap();
        let (resumed, _) = shake(before.server.config_for(false), &device, name.clone()).unwrap();
        assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed));
        // Who it is, is known all the same.
        assert_eq!(resumed.peer_certificates(), full.peer_certificates());
        assert_eq!(resumed.peer_certificates().unwrap()[0].to_vec(), fleet.revoked.der);
        let why = shake(after.server.config_for(false), &device, name).unwrap_err().certificate();
        assert_eq!(why, CertificateError::Revoked);
    }
}

#[test]
fn tls_1_1_is_refused() {
    let issued = Ca::new("ca").issue(&Leaf::new("a", &["a.example.com"]));
    let mut server = rustls::ServerConnection::new(showing(&[&issued])).unwrap();
    // A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2): version, random, no session, the suite
    // TLS_RSA_WITH_AES_128_CBC_SHA, no compression, and no extension.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(&hello);
    server.read_tls(&mut &record[..]).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error:?}");
    let mut answer = Vec::new();
    server.write_tls(&mut answer).unwrap();
    // A fatal alert. It is "handshake failure", as the hello has no signature algorithms either.
    let alert = AlertDescription::HandshakeFailure.into();
    assert_eq!((answer[0], answer[5..].to_vec()), (21, vec![2, alert]));
}
