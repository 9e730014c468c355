//! Bans after failed logins: each kind of proof of who a client is.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{answer, rates::wait_bans};
use crate::{
    broker::Broker,
    client::{Client, Connect},
    config::Config,
    harness::program,
    identity::issuer::{Issuer, jwk_set},
    pki::{Ca, Issued, Leaf, years},
    tls_client::Pki,
};

/// The ban outlasts the test.
const LIMITS: &str = "limits: { bad_credentials_per_ip: { rate: 1, burst: 5, ban_for: 1h } }";
const BANNED: [&str; 1] = ["ip 127.0.0.1 bad_credentials_per_ip"];

/// More than the burst, also if tokens come back meanwhile.
const ATTEMPTS: usize = 10;

#[test]
fn invalid_tokens() {
    let (issuer, stranger) = (Issuer::new("P-256", "key"), Issuer::new("P-256", "key"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let expired = issuer.token(&json!({ "sub": "alice", "exp": now - 3600 }));
    let foreign = stranger.token(&json!({ "sub": "alice" }));
    let broker = Broker::echoing();
    let config = Config::of([&broker])
        .listener("authenticate: { jwt: { keys: jwks.json, algorithms: [ES256] } }")
        .more(LIMITS);
    for token in [None, Some("none"), Some(&expired), Some(&foreign)] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("jwks.json"), jwk_set(&[issuer.jwk()])).unwrap();
        let proxy = crate::harness::Proxy::start_in(dir, &config.text(), |_| program());
        for _ in 0..ATTEMPTS {
            let sent =
                Connect { password: token, username: token.map(|_| "u"), ..Connect::new(5, "c") };
            answer(Client::open(proxy.address()), &sent.bytes(), 5);
        }
        wait_bans(&proxy, &BANNED);
    }
    assert_eq!(broker.connections(), 0);
}

#[test]
fn invalid_certificates() {
    let (broker, pki) = (Broker::echoing(), Pki::new());
    let revoked = pki.ca.issue(&Leaf { serial: 66, ..Leaf::new("revoked", &[]) });
    let expired = pki.ca.issue(&Leaf { valid: years(2000, 2001), ..Leaf::new("expired", &[]) });
    let foreign = Ca::new("Other CA").issue(&Leaf::new("foreign", &[]));
    pki.write("revoked.crl", &pki.ca.crl(&[66], 4000));
    let files = pki.file("client_ca", "ca.pem") + &pki.file("client_crl", "revoked.crl");
    let tls = pki.tls(&format!(", client_auth: required{files}"));
    let config = Config::of([&broker]).listener(&tls).more(LIMITS);
    let certificates: [Option<&Issued>; 4] = [Some(&revoked), Some(&expired), Some(&foreign), None];
    for certificate in certificates {
        let proxy = config.start();
        let trust = pki.client();
        let trust = certificate.map_or_else(|| trust.clone(), |issued| trust.clone().with(issued));
        for _ in 0..ATTEMPTS {
            // Once the address is banned, the connection is closed without an alert.
            trust.open(proxy.address()).failure();
        }
        wait_bans(&proxy, &BANNED);
    }
    assert_eq!(broker.connections(), 0);
}

/// What says nothing about who a client is does not count: another protocol, a client that does not
/// trust the proxy's certificate, and one that leaves.
#[test]
fn other_failed_handshakes() {
    let (broker, pki) = (Broker::echoing(), Pki::new());
    let proxy = Config::of([&broker]).listener(&pki.tls("")).more(LIMITS).start();
    let stranger = Pki::new();
    for _ in 0..ATTEMPTS {
        answer(Client::open(proxy.address()), b"GET / HTTP/1.1\r\n\r\n", 7);
        stranger.client().open(proxy.address()).failure();
        drop(Client::open(proxy.address()));
    }
    proxy.wait_ends(3 * ATTEMPTS);
    wait_bans(&proxy, &[]);
    pki.client().open(proxy.address()).session("good");
}
