//! Files of TLS that can be used, and with which peers will not be served, or anyone can be.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    broker::Broker, config::Config, pki::Leaf, tls_client::Pki, tls_old_devices::openssl,
    warnings::warnings,
};

/// CAs with a key that is too short, towards clients and towards brokers. How a CA itself is signed
/// does not matter.
#[test]
fn authorities_whose_certificates_are_refused() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    for (name, bits, hash) in [("short", 1024, "sha256"), ("sha1", 2048, "sha1")] {
        openssl(
            pki.path(),
            &format!(
                "req -x509 -newkey rsa:{bits} -nodes -keyout {name}.key -out {name}.pem -{hash} \
                 -subj /CN=CA -days 100"
            ),
        );
    }
    let read = |name: &str| fs::read_to_string(pki.path().join(name)).unwrap();
    pki.write("cas.pem", &[read("ca.pem"), read("sha1.pem"), read("short.pem")].concat());
    let of = |ca: &str| {
        let clients = format!(", client_auth: required{}", pki.file("client_ca", ca));
        let brokers = format!("tls: {{ server_name: localhost{} }}", pki.file("ca", ca));
        warnings(&Config::of([&broker]).listener(&pki.tls(&clients)).pool(&brokers))
    };
    assert_eq!(of("ca.pem"), [""; 0]);
    assert_eq!(of("sha1.pem"), [""; 0]);
    let said = |key: &str| {
        format!(
            "tls.{key}: certificate 3 of {}/cas.pem has an RSA key of 1024 bits, and 2048 are \
             required, so that no certificate that it has signed is accepted: issue it for a \
             longer key, or an ECDSA key",
            pki.path().display()
        )
    };
    let at = |key: &str, owner: &str| said(key).replacen(':', &format!(" of {owner}:"), 1);
    assert_eq!(of("cas.pem"), [at("client_ca", "listener mqtt"), at("ca", "pool brokers")]);
}

/// The listener's certificate is signed with SHA-1, or has expired.
#[test]
fn certificates_that_peers_refuse() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    openssl(
        pki.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=CA -days 100",
    );
    pki.write("v3", "subjectAltName=DNS:localhost\n");
    openssl(
        pki.path(),
        "req -newkey rsa:2048 -nodes -keyout sha1.key -out sha1.csr -subj /CN=localhost",
    );
    openssl(
        pki.path(),
        "x509 -req -in sha1.csr -CA root.pem -CAkey root.key -CAcreateserial -days 100 -sha1 \
         -extfile v3 -out sha1.pem",
    );
    let old = Leaf { valid: crate::pki::years(2000, 2020), ..Leaf::new("old", &["localhost"]) };
    pki.write_issued("old", &pki.ca.issue(&old));
    let dir = pki.path().display();
    let of = |name: &str| {
        let pair = format!("{{ cert: \"{dir}/{name}.pem\", key: \"{dir}/{name}.key\" }}");
        let tls = format!("tls: {{ certificates: [ {pair} ] }}");
        warnings(&Config::of([&broker]).listener(&tls))
    };
    assert_eq!(of("server"), [""; 0]);
    assert_eq!(
        of("sha1"),
        [format!(
            "tls.certificates of listener mqtt: certificate 1 of {dir}/sha1.pem is signed with \
             SHA-1, which can be forged, so that clients may refuse it: have its CA sign it with \
             SHA-256"
        )]
    );
    assert_eq!(
        of("old"),
        [format!(
            "tls of listener mqtt: {dir}/old.pem: the certificate expired on 2020-01-01: renew it \
             and reload"
        )]
    );
}

/// Private keys that every user of the machine can read.
#[test]
fn readable_private_keys() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    pki.write_issued("proxy", &pki.issue("proxy"));
    let identity = [pki.file("ca", "ca.pem"), pki.file("cert", "proxy.pem")].concat();
    let key = pki.file("key", "proxy.key");
    let brokers = format!("tls: {{ server_name: localhost{identity}{key} }}");
    let config = Config::of([&broker]).listener(&pki.tls("")).pool(&brokers);
    assert_eq!(warnings(&config), [""; 0]);
    for name in ["server.key", "proxy.key"] {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(pki.path().join(name), mode).unwrap();
    }
    let said = |key: &str, name: &str, risk: &str| {
        let file = format!("{}/{name}", pki.path().display());
        format!(
            "tls.{key}: any user of this machine can read {file}, and with it {risk}: \
             chmod o= {file}"
        )
    };
    assert_eq!(
        warnings(&config),
        [
            said("certificates of listener mqtt", "server.key", "impersonate the listener"),
            said("key of pool brokers", "proxy.key", "connect to the brokers as this proxy does"),
        ]
    );
}
