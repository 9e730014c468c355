//! Facts from certificates as variables: in `require`, `rewrite`, `balance.key`, and in what brokers
//! are told in PROXY headers.

use std::{collections::HashSet, sync::mpsc::Receiver};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::SanType;

use super::packets::recording;
use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connack, connect},
    config::Config,
    harness::{PATIENCE, Proxy, rejects},
    pki::{Ca, Issued, Leaf},
    proxy_header::{DESTINATION, ssl, tlv, v2, with_checksum},
    proxy_protocol_out::{Seen, reading, session_id},
    tls_client::{Pki, TlsClient},
};

/// Servers' and clients' authorities, and a listener that asks for certificates.
struct Fleet {
    pki: Pki,
    of_clients: Ca,
}

impl Fleet {
    fn new() -> Self {
        let (pki, of_clients) = (Pki::new(), Ca::new("CA of clients"));
        pki.write("clients.pem", &of_clients.pem());
        Self { pki, of_clients }
    }

    fn listener(&self) -> String {
        let client_ca = self.pki.file("client_ca", "clients.pem");
        self.pki.tls(&format!(", client_auth: optional{client_ca}"))
    }

    fn issue(&self, name: &'static str, names: &[SanType]) -> Issued {
        self.of_clients.issue(&Leaf { names: names.to_vec(), ..Leaf::new(name, &[]) })
    }

    /// Sends this CONNECT and expects the answer of its version.
    #[track_caller]
    fn connect(
        &self,
        proxy: &Proxy,
        issued: Option<&Issued>,
        sent: &Connect<'_>,
        code: u8,
    ) -> TlsClient {
        let trust = self.pki.client();
        let trust = issued.map_or(trust.clone(), |issued| trust.with(issued));
        let mut client = trust.open(proxy.address());
        client.send(&sent.bytes());
        client.expect(&connack(sent.version, code));
        client
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(text.try_into().unwrap())
}

fn fingerprint(issued: &Issued) -> String {
    let hash = digest(&SHA256, &issued.der);
    hash.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Of several names of a kind any may match; names of another kind, or with control characters, or
/// with `*`, match nothing but themselves.
#[test]
fn one_of_several_names_has_to_match() {
    let fleet = Fleet::new();
    let (broker, connects) = recording();
    let several = fleet.issue(
        "device",
        &[uri("urn:dev:1"), dns("a.example"), uri("urn:dev:2"), email("ops@a.example"), dns("*")],
    );
    let odd = fleet.issue("device", &[uri("urn:dev:\n1"), uri("urn:\0dev"), uri("urn:\"dev\"")]);
    let star = fleet.issue("*", &[uri("urn:*")]);
    let [null, line, quoted] = ["pum\0p", "pum\np", "pu\"mp\""].map(|name| fleet.issue(name, &[]));
    let bare = fleet.issue("urn:dev:1", &[]);
    let cases: &[(&str, Option<&Issued>, &str, bool)] = &[
        ("${tls_san_uri}", Some(&several), "urn:dev:1", true),
        ("${tls_san_uri}", Some(&several), "urn:dev:2", true),
        ("${tls_san_uri}", Some(&several), "urn:dev:3", false),
        ("${tls_san_uri}", Some(&several), "a.example", false),
        ("${tls_san_uri}", Some(&bare), "urn:dev:1", false),
        ("${tls_san_uri}", None, "urn:dev:1", false),
        ("${tls_san_uri}", Some(&odd), "urn:\"dev\"", true),
        ("${tls_san_uri}", Some(&odd), "urn:dev:\n1", false),
        ("${tls_san_uri}", Some(&odd), "urn:dev:1", false),
        ("${tls_san_uri}", Some(&star), "urn:dev:1", false),
        ("${tls_san_uri}", Some(&star), "urn:*", true),
        ("${tls_san_dns}", Some(&several), "*", true),
        ("${tls_san_dns}", Some(&several), "b.example", false),
        ("${tls_san_dns}/*", Some(&several), "a.example/pump", true),
        ("${tls_san_dns}/*", Some(&several), "b.example/pump", false),
        ("${tls_san_email}", Some(&several), "ops@a.example", true),
        ("${tls_san_dns}-${tls_san_uri}", Some(&several), "a.example-urn:dev:2", true),
        ("${tls_san_dns}-${tls_san_uri}", Some(&several), "*-urn:dev:1", true),
        ("${tls_san_dns}-${tls_san_uri}", Some(&several), "b.example-urn:dev:1", false),
        ("${tls_cn}", Some(&star), "pump", false),
        ("${tls_cn}", Some(&star), "*", true),
        ("${tls_cn}", Some(&null), "pump", false),
        ("${tls_cn}", Some(&null), "pum", false),
        ("${tls_cn}", Some(&line), "pump", false),
        ("${tls_cn}*", Some(&line), "pump", false),
        ("${tls_cn}", Some(&quoted), "pu\"mp\"", true),
        ("${tls_serial}", Some(&several), "07", true),
        ("${tls_serial}", Some(&several), "7", false),
    ];
    let templates: HashSet<_> = cases.iter().map(|case| case.0).collect();
    for template in templates {
        let require = format!("require: [{{ client_id: \"{template}\" }}]");
        let proxy = Config::of([&broker]).listener(&fleet.listener()).listener(&require).start();
        for (_, issued, id, matches) in cases.iter().filter(|case| case.0 == template) {
            for version in [4, 5] {
                let sent = Connect::new(version, id);
                let refused = if version == 5 { 0x85 } else { 2 };
                let code = if *matches { 0 } else { refused };
                let _client = fleet.connect(&proxy, *issued, &sent, code);
                if *matches {
                    assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), sent.bytes());
                }
            }
        }
    }
}

/// Each fact as the broker's client ID, username and property; a client that lacks one.
#[test]
fn facts_are_written_into_the_connect() {
    let fleet = Fleet::new();
    let (broker, connects) = recording();
    let rewrite = "rewrite: { client_id: \"${tls_serial}/${tls_san_dns}\", \
                   username: \"${tls_fingerprint}\", user_properties: [ \
                   { name: uri, value: \"${tls_san_uri}\" }, \
                   { name: email, value: \"${tls_san_email}\" } ] }";
    let proxy = Config::of([&broker]).listener(&fleet.listener()).listener(rewrite).start();
    let named = fleet.issue("a", &[dns("a.example"), uri("urn:dev:1"), dns("b.example")]);
    let sent = Connect::new(5, "any");
    let _client = fleet.connect(&proxy, Some(&named), &sent, 0);
    let (id, username) = ("07/a.example", fingerprint(&named));
    let wanted = Connect {
        id,
        username: Some(&username),
        // The property without a value is left out.
        properties: b"\x26\x00\x03uri\x00\x09urn:dev:1",
        ..sent.clone()
    };
    assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), wanted.bytes());
    assert_eq!(proxy.wait_connected("any")["broker_client_id"], id);

    let bare = fleet.issue("b", &[email("a@b.example")]);
    let odd = fleet.issue("c", &[dns("a\nb"), dns("a\0b"), dns("a b")]);
    for (n, issued) in [Some(&bare), Some(&odd), None].into_iter().enumerate() {
        fleet.connect(&proxy, issued, &sent, 0x85);
        let line = rejects(&proxy, n + 1).remove(n);
        let lacks = if issued.is_some() { "${tls_san_dns}" } else { "${tls_serial}" };
        let detail = format!("rewrite.client_id needs {lacks}, which has no value");
        assert_eq!(line["detail"], *detail);
    }
    assert_eq!(broker.connections(), 1);
}

/// The certificate is the key, whatever ID it comes with; without the name the ID is.
#[test]
fn a_certificate_is_the_key() {
    let fleet = Fleet::new();
    let brokers: Vec<_> = (0..4).map(|_| Broker::echoing()).collect();
    let issued: Vec<_> =
        (0..6).map(|n| fleet.issue("device", &[uri(&format!("urn:dev:{n}"))])).collect();
    let named = fleet.issue("named", &[]);
    let plain = Config::of(&brokers).start();
    let place = |proxy: &Proxy, id: &str| proxy.wait_connected(id)["upstream"].clone();
    for (variable, value) in [
        ("tls_san_uri", (|n, _| format!("urn:dev:{n}")) as fn(usize, &Issued) -> String),
        ("tls_fingerprint", |_, issued| fingerprint(issued)),
        ("key/${tls_san_uri}", |n, _| format!("key/urn:dev:{n}")),
    ] {
        let key = if variable.contains('$') { variable } else { &format!("${{{variable}}}") };
        let config = Config::of(&brokers).listener(&fleet.listener());
        let proxy = config.pool(&format!("balance: {{ key: \"{key}\" }}")).start();
        for (n, issued) in issued.iter().enumerate() {
            let wanted = value(n, issued);
            drop(Client::session(plain.address(), &wanted));
            let wanted = place(&plain, &wanted);
            for id in [format!("x-{n}"), format!("y-{n}")] {
                fleet.connect(&proxy, Some(issued), &Connect::new(4, &id), 0);
                assert_eq!(place(&proxy, &id), wanted, "{key} {id}");
            }
        }
        if !variable.ends_with("fingerprint") {
            fleet.connect(&proxy, Some(&named), &Connect::new(4, "alone"), 0);
            drop(Client::session(plain.address(), "alone"));
            assert_eq!(place(&proxy, "alone"), place(&plain, "alone"));
            assert_eq!(proxy.wait_connected("alone")["route"], "fallback_key");
        }
    }
}

/// The header and the CONNECT that a broker was sent.
fn header(seen: &Receiver<Seen>) -> (Vec<u8>, Vec<u8>) {
    seen.recv_timeout(PATIENCE).unwrap()
}

/// TLV 0x20 for a client with a verified certificate and no common name.
fn nameless(version: &str, cipher: &str) -> Vec<u8> {
    let texts = [tlv(0x21, version.as_bytes()), tlv(0x23, cipher.as_bytes())].concat();
    tlv(0x20, &[&[7, 0, 0, 0, 0][..], &texts].concat())
}

/// `send_proxy_protocol.cn`: another fact in place of the common name, byte for byte.
#[test]
fn another_name_for_the_broker() {
    let fleet = Fleet::new();
    let (broker, seen) = reading();
    let named = fleet.issue("device", &[uri("urn:dev:1"), uri("urn:dev:2")]);
    let bare = fleet.issue("device", &[]);
    let odd = fleet.issue("device", &[uri("urn:\ndev")]);
    for (cn, issued, username, wanted) in [
        ("${tls_san_uri}", &named, None, Some("urn:dev:1")),
        ("${tls_san_uri}", &bare, None, None),
        ("${tls_san_uri}", &odd, None, None),
        ("${tls_cn}@${client_id}", &bare, None, Some("device@c")),
        ("${tls_cn}@${tls_san_uri}", &bare, None, None),
        ("${username}", &bare, Some("anna"), Some("anna")),
        ("${username}", &bare, Some("a\nb"), None),
        ("${username}", &bare, Some("a\u{7f}b"), None),
        ("${username}", &bare, Some("a\u{85}b"), None),
        ("${username}", &bare, Some(""), None),
        ("${username}", &bare, None, None),
    ] {
        let config = Config::of([&broker]).listener(&fleet.listener());
        let out = format!("send_proxy_protocol: {{ version: v2, cn: \"{cn}\" }}");
        let proxy = config.pool(&out).start();
        let sent = Connect { username, ..Connect::new(4, "c") };
        let client = fleet.connect(&proxy, Some(issued), &sent, 0);
        let from = client.stream.sock.local_addr().unwrap().to_string();
        let cipher = proxy.wait_connected("c")["tls_cipher"].as_str().unwrap().to_owned();
        let of_tls = match wanted {
            Some(name) => ssl("TLSv1.3", name, &cipher),
            None => nameless("TLSv1.3", &cipher),
        };
        let unique_id = tlv(0x05, &session_id(&proxy, "c"));
        let tlvs = [tlv(0x02, b"localhost"), unique_id, of_tls].concat();
        let wanted = with_checksum(v2(&from, &proxy.address().to_string(), &tlvs));
        assert_eq!(header(&seen), (wanted, sent.bytes()), "{cn} {username:?}");
    }
}

/// A name needs a certificate that was verified, here or at a proxy in front.
#[test]
fn no_name_without_a_certificate() {
    let fleet = Fleet::new();
    let (broker, seen) = reading();
    let config = Config::of([&broker])
        .listener(&fleet.listener())
        .another_listener("name: behind, accept_proxy_protocol: { from: [127.0.0.1] }")
        .pool("send_proxy_protocol: { version: v2, cn: \"${username}\" }");
    let proxy = config.start();
    let sent = Connect::new(4, "none").username("anna");
    let client = fleet.connect(&proxy, None, &sent, 0);
    let from = client.stream.sock.local_addr().unwrap().to_string();
    let cipher = proxy.wait_connected("none")["tls_cipher"].as_str().unwrap().to_owned();
    let texts = [tlv(0x21, b"TLSv1.3"), tlv(0x23, cipher.as_bytes())].concat();
    let of_tls = tlv(0x20, &[&[1, 0, 0, 0, 1][..], &texts].concat());
    let unique_id = tlv(0x05, &session_id(&proxy, "none"));
    let tlvs = [tlv(0x02, b"localhost"), unique_id, of_tls].concat();
    let wanted = with_checksum(v2(&from, &proxy.address().to_string(), &tlvs));
    assert_eq!(header(&seen), (wanted, sent.bytes()));

    let (from, behind) = ("192.0.2.1:56324", proxy.address_of("behind"));
    let received = v2(from, DESTINATION, &ssl("TLSv1.3", "device", "TLS_AES_128_GCM_SHA256"));
    let cipher = "TLS_AES_128_GCM_SHA256";
    for (username, id, wanted) in [
        ("anna", "good", ssl("TLSv1.3", "anna", cipher)),
        ("a\nb", "bad", nameless("TLSv1.3", cipher)),
    ] {
        let sent = Connect::new(4, id).username(username).bytes();
        let _client = Client::exchange(behind, &[received.clone(), sent].concat(), CONNACK_V3);
        let tlvs = [tlv(0x05, &session_id(&proxy, id)), wanted].concat();
        assert_eq!(header(&seen).0, with_checksum(v2(from, DESTINATION, &tlvs)));
    }
    let sent = [v2(from, DESTINATION, b""), connect(4, "plain")].concat();
    let _client = Client::exchange(behind, &sent, CONNACK_V3);
    let unique_id = tlv(0x05, &session_id(&proxy, "plain"));
    assert_eq!(header(&seen).0, with_checksum(v2(from, DESTINATION, &unique_id)));
}
