//! Brokers that are known by the fingerprint of their certificate, and `mqtt-lb pin`.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    HandshakeKind, ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::ResolvesServerCertUsingSni,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use x509_parser::parse_x509_certificate;

use crate::{
    broker::Broker,
    client::{Client, connack, connect},
    config::Config,
    harness::{run, wait_for},
    pki::{Ca, Issued, Leaf, years},
    reload::take,
    tls_client::Pki,
    tls_upstream::{broker, broker_that_tells},
};

fn pin_of(der: &[u8]) -> String {
    format!("sha256/{}", STANDARD.encode(digest(&SHA256, der)))
}

fn key_pin(issued: &Issued) -> String {
    let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
    pin_of(parsed.tbs_certificate.subject_pki.raw)
}

fn certificate_pin(issued: &Issued) -> String {
    pin_of(&issued.der)
}

/// A server that shows one certificate and signs with the key of another, which may be the same one.
fn server(
    shown: &Issued,
    key: &Issued,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(key.key.as_bytes()).unwrap();
    let chain = vec![CertificateDer::from(shown.der.clone())];
    let certified = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth();
    Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
}

/// As `openssl req` and `x509 -req` make it where nobody names extensions: self-signed, of X.509
/// version 1, with a common name alone.
fn home_made(algorithm: &[&str]) -> Issued {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let output =
            Command::new("openssl").current_dir(folder.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["genpkey", "-out", "key.pem"];
    openssl(&[&key[..], algorithm].concat());
    openssl(&["req", "-new", "-key", "key.pem", "-subj", "/CN=broker", "-out", "request.pem"]);
    openssl(&["x509", "-req", "-in", "request.pem", "-signkey", "key.pem", "-out", "cert.pem"]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let der = CertificateDer::from_pem_slice(read("cert.pem").as_bytes()).unwrap().to_vec();
    assert_eq!(parse_x509_certificate(&der).unwrap().1.version().0, 0, "version 1");
    Issued { cert: read("cert.pem"), key: read("key.pem"), der }
}

const EC: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

fn pool(pins: &[String]) -> String {
    format!("tls: {{ pin: [{}] }}", pins.join(", "))
}

#[track_caller]
fn serves(broker: &Broker, keys: &str) {
    let proxy = Config::of([broker])
        .pool(keys)
        .pool("health: { active: { type: mqtt, interval: 100ms } }")
        .start();
    Client::session(proxy.address(), "c").echo(b"\xC0\x00");
    let checks = "mqtt_lb_health_checks_total";
    wait_for("a good check", || (proxy.metric(checks, &["\"ok\""]) > 0.5).then_some(()));
    assert_eq!(proxy.metric(checks, &["\"failed\""]) as u64, 0);
}

/// Returns what the log says of it.
#[track_caller]
fn refuses(broker: &Broker, keys: &str) -> String {
    let proxy = Config::of([broker]).pool(keys).start();
    Client::exchange(proxy.address(), &connect(4, "c"), &connack(4, 3));
    proxy.wait_end("c")["detail"].as_str().unwrap().to_owned()
}

/// What no CA could vouch for: expired, of another name, self-signed, of version 1.
#[test]
fn a_pin_alone_decides() {
    let ca = Ca::new("unknown");
    let expired = Leaf { valid: years(2000, 2001), ..Leaf::new("expired", &["other.test"]) };
    let other = certificate_pin(&ca.issue(&Leaf::new("other", &[])));
    for issued in [ca.issue(&expired), home_made(EC), home_made(RSA)] {
        for version in [&TLS12, &TLS13] {
            let broker = broker(server(&issued, &issued, version));
            serves(&broker, &pool(&[key_pin(&issued)]));
            serves(&broker, &pool(&[other.clone(), certificate_pin(&issued)]));
        }
    }
}

/// The log has what can be pasted into the configuration.
#[test]
fn another_certificate_is_refused_and_named() {
    let (known, shown) = (home_made(EC), home_made(EC));
    let broker = broker(server(&shown, &shown, &TLS13));
    let config = |pin: String| Config::of([&broker]).pool(&pool(&[pin]));
    let proxy = config(key_pin(&known)).start();
    Client::exchange(proxy.address(), &connect(4, "c"), &connack(4, 3));
    let detail = proxy.wait_end("c")["detail"].as_str().unwrap().to_owned();
    let wanted = format!(
        "the broker's certificate has no pin of tls.pin: its public key is {}, the certificate {}",
        key_pin(&shown),
        certificate_pin(&shown)
    );
    assert!(detail.ends_with(&wanted), "{detail}");
    let (_, pasted) = detail.split_once("public key is ").unwrap();
    take(&proxy, &config(pasted.split(',').next().unwrap().to_owned()));
    Client::session(proxy.address(), "d").echo(b"\xC0\x00");
}

/// Anyone can show the certificate; only the broker has its key.
#[test]
fn the_key_has_to_be_proven() {
    let (pinned, thief) = (home_made(EC), home_made(EC));
    for version in [&TLS12, &TLS13] {
        let broker = broker(server(&pinned, &thief, version));
        for pin in [key_pin(&pinned), certificate_pin(&pinned)] {
            let said = refuses(&broker, &pool(&[pin]));
            assert!(said.contains("BadSignature"), "{said}");
        }
    }
}

#[test]
fn a_ca_and_a_pin_must_both_hold() {
    let pki = Pki::new();
    let good = pki.issue("good");
    let foreign = Ca::new("foreign").issue(&Leaf::new("foreign", &["127.0.0.1"]));
    let misnamed = pki.ca.issue(&Leaf::new("misnamed", &["other.test"]));
    let both = |pin: String| {
        format!("tls: {{ ca: \"{}/ca.pem\", pin: [\"{pin}\"] }}", pki.path().display())
    };
    serves(&broker(server(&good, &good, &TLS13)), &both(key_pin(&good)));
    for (shown, pin, said) in [
        (&good, key_pin(&foreign), "has no pin of tls.pin"),
        (&foreign, key_pin(&foreign), "UnknownIssuer"),
        (&misnamed, certificate_pin(&misnamed), "not valid for name"),
    ] {
        let detail = refuses(&broker(server(shown, shown, &TLS13)), &both(pin));
        assert!(detail.contains(said), "{detail}");
    }
}

/// A ticket of the broker from before does not count after a reload with another pin.
#[test]
fn resumption_does_not_bypass_a_changed_pin() {
    let issued = home_made(EC);
    let kinds = Arc::<Mutex<Vec<HandshakeKind>>>::default();
    let broker = broker_that_tells(server(&issued, &issued, &TLS13), kinds.clone());
    let config = |pin: String| Config::of([&broker]).pool(&pool(&[pin]));
    let proxy = config(key_pin(&issued)).start();
    for id in ["a", "b"] {
        Client::session(proxy.address(), id).echo(b"\xC0\x00");
    }
    assert_eq!(*kinds.lock().unwrap(), [HandshakeKind::Full, HandshakeKind::Resumed]);
    take(&proxy, &config(certificate_pin(&home_made(EC))));
    Client::exchange(proxy.address(), &connect(4, "c"), &connack(4, 3));
    take(&proxy, &config(certificate_pin(&issued)));
    Client::session(proxy.address(), "d").echo(b"\xC0\x00");
    assert_eq!(kinds.lock().unwrap().last(), Some(&HandshakeKind::Full));
}

/// What `mqtt-lb pin` prints is what `tls` needs, whatever the certificate is.
#[test]
fn the_command_prints_what_the_configuration_takes() {
    for issued in [home_made(EC), Ca::new("ca").issue(&Leaf::new("broker", &["broker.test"]))] {
        let broker = broker(server(&issued, &issued, &TLS12));
        let output = run(&["pin", &broker.address.to_string()], "");
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(&format!("\n  - {}\n", key_pin(&issued))), "{printed}");
        assert!(printed.contains(&format!("\n  # - {}\n", certificate_pin(&issued))), "{printed}");
        let warning = String::from_utf8(output.stderr).unwrap();
        assert!(warning.starts_with("warning: ") && warning.contains("CN=broker"), "{warning}");
        assert_eq!(warning.lines().count(), 1, "{warning}");
        let pasted = printed.replace('\n', "\n      ");
        serves(&broker, &format!("tls:\n      {pasted}"));
    }
}

/// A broker may show another certificate for each name, and ask for one itself.
#[test]
fn the_command_asks_by_name_and_has_no_certificate() {
    let pki = Pki::new();
    let issued = pki.issue("broker");
    let broker_with_clients = broker(Pki::server(&issued, Some(&pki.ca)));
    let output = run(&["pin", &broker_with_clients.address.to_string()], "");
    assert!(String::from_utf8(output.stdout).unwrap().contains(&key_pin(&issued)));

    let named = pki.ca.issue(&Leaf::new("named", &["named.test"]));
    let mut by_name = ResolvesServerCertUsingSni::new();
    let key = PrivateKeyDer::from_pem_slice(named.key.as_bytes()).unwrap();
    let chain = vec![CertificateDer::from(named.der.clone())];
    by_name.add("named.test", CertifiedKey::new(chain, any_supported_type(&key).unwrap())).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(by_name));
    let broker = broker(Arc::new(config));
    let address = broker.address.to_string();
    let output = run(&["pin", &address, "--sni", "named.test"], "");
    assert!(String::from_utf8(output.stdout).unwrap().contains(&key_pin(&named)));
    let output = run(&["pin", &address], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn faults_of_the_command() {
    let plain = Broker::echoing();
    let closing = Broker::start(drop);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (args, code, said) in [
        (&["pin"][..], 2, "HOST:PORT"),
        (&["pin", &unused.to_string()], 1, "cannot connect to 127.0.0.1:"),
        (&["pin", "127.0.0.1"], 1, "cannot look up 127.0.0.1"),
        (&["pin", &closing.address.to_string()], 1, "TLS handshake"),
        (&["pin", &plain.address.to_string()], 1, "TLS handshake"),
        (&["pin", "127.0.0.1:1", "--sni", "a_b..c"], 1, "a_b..c is not a host name"),
    ] {
        let output = run(args, "");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
