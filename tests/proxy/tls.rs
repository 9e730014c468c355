//! Clients that come by TLS.

use std::{
    io::{Read, Write},
    thread,
};

use rustix::process::Signal;
use rustls::CipherSuite;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end, rejects, wait_for},
    pki::{Ca, Leaf, years},
    tls_client::{Pki, TlsClient, Versions},
};

fn proxy(broker: &Broker, tls: &str) -> Proxy {
    Config::of([broker]).listener(tls).start()
}

#[test]
fn both_versions() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&broker, &pki.tls(""));
    for (versions, id, version, cipher) in [
        (Versions::Both, "new", "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        (Versions::Only12, "old", "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ] {
        let mut client = pki.client().versions(versions).open(proxy.address()).session(id);
        client.echo(b"\xC0\x00");
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), true));
        let line = proxy.wait_end(id);
        assert_eq!(end(&line), "client/relay/closed");
        assert_eq!(line["transport"], "tls");
        assert_eq!(line["tls_version"], version);
        assert_eq!(line["tls_cipher"], cipher);
        assert_eq!(line["sni"], "localhost");
        assert_eq!(line["tls_cn"], serde_json::Value::Null);
        let sent = connect(4, id).len() as u64 + 2;
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&sent.into(), &6.into()));
    }
    assert_eq!(broker.connections(), 2);
}

/// The server chooses, unless the client has ChaCha20 first, as one without instructions for AES.
#[test]
fn cipher_suites() {
    const AES_128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
    const AES_256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
    const CHACHA20: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    const OLD_AES_128: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    const OLD_AES_256: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    const OLD_CHACHA20: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&broker, &pki.tls(""));
    for (offered, chosen) in [
        // What OpenSSL 3 offers.
        (&[AES_256, CHACHA20, AES_128][..], AES_128),
        (&[CHACHA20, AES_128, AES_256], CHACHA20),
        (&[AES_256, CHACHA20], AES_256),
        (&[CHACHA20], CHACHA20),
        (&[OLD_AES_256, OLD_CHACHA20, OLD_AES_128], OLD_AES_128),
        (&[OLD_CHACHA20, OLD_AES_128], OLD_CHACHA20),
        (&[OLD_AES_256], OLD_AES_256),
    ] {
        let client = pki.client().suites(offered).open(proxy.address()).session("device");
        let suite = client.stream.conn.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, chosen, "of {offered:?}");
    }
}

/// Much more than any buffer holds, both ways.
#[test]
fn bulk() {
    const SIZE: usize = 3 << 20;
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&broker, &pki.tls(""));
    for versions in [Versions::Both, Versions::Only12] {
        let mut client = pki.client().versions(versions).open(proxy.address());
        let payload: Vec<u8> = (0..SIZE).map(|n| (n * 31 % 251) as u8).collect();
        let mut socket = client.stream.sock.try_clone().unwrap();
        client.stream.conn.set_buffer_limit(None);
        client.send(&connect(4, "bulk"));
        client.expect(CONNACK_V3);
        // Written below TLS by another thread, as the echo has to be read meanwhile.
        let mut records = Vec::new();
        client.stream.conn.writer().write_all(&payload).unwrap();
        while client.stream.conn.wants_write() {
            client.stream.conn.write_tls(&mut records).unwrap();
        }
        let writing = thread::spawn(move || socket.write_all(&records).unwrap());
        let mut echoed = vec![0; SIZE];
        client.stream.read_exact(&mut echoed).unwrap();
        writing.join().unwrap();
        assert!(echoed == payload, "the echo is another");
    }
}

/// A broker that sends to a client that does not read is held back, and loses nothing.
#[test]
fn a_client_that_reads_late() {
    const BLOCKS: usize = 64;
    let pki = Pki::new();
    let broker = Broker::start(|mut link| {
        let Some(_connect) = link.accept() else { return };
        for n in 0..BLOCKS {
            if link.stream.write_all(&vec![n as u8; 1 << 18]).is_err() {
                return;
            }
        }
    });
    let proxy = proxy(&broker, &pki.tls(""));
    let mut client = pki.client().open(proxy.address()).session("late");
    let before = proxy.memory();
    wait_for("a part of it to be on its way", || {
        (proxy.metric("mqtt_lb_bytes_total", &["direction=\"out\""]) > 100_000.0).then_some(())
    });
    let (rest, announced) = client.rest();
    assert!(announced, "the end was not announced");
    assert_eq!(rest.len(), BLOCKS << 18);
    assert!(rest.chunks(1 << 18).enumerate().all(|(n, block)| block.iter().all(|b| *b == n as u8)));
    assert!(proxy.memory() < before + (4 << 20), "{} and {before}", proxy.memory());
}

/// A client that ends its side still gets what the broker says, and a broker's end is announced.
#[test]
fn half_closed() {
    let pki = Pki::new();
    let broker = Broker::start(|mut link| {
        let Some(_connect) = link.accept() else { return };
        let mut said = Vec::new();
        link.stream.read_to_end(&mut said).unwrap();
        said.reverse();
        link.send(&said);
    });
    let proxy = proxy(&broker, &pki.tls(""));
    let mut client = pki.client().open(proxy.address()).session("half");
    client.send(b"\x30\x03\x00\x01t");
    client.finish();
    assert_eq!(client.rest(), (b"t\x01\x00\x03\x30".to_vec(), true));
    assert_eq!(end(&proxy.wait_end("half")), "client/relay/closed");
}

/// An end that the proxy makes is announced too.
#[test]
fn the_end_of_a_drain() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let mut proxy =
        Config::of([&broker]).listener(&pki.tls("")).more("drain: { timeout: 0s }").start();
    let mut client = pki.client().open(proxy.address()).session("stays");
    proxy.signal(Signal::TERM);
    assert_eq!(client.rest(), (Vec::new(), true));
    assert!(proxy.wait_exit().success());
    assert_eq!(end(&proxy.wait_end("stays")), "proxy/relay/drain");
}

#[test]
fn certificates_by_sni() {
    let pki = Pki::new();
    let dir = pki.path().display().to_string();
    let mut pairs = Vec::new();
    let mut issued = Vec::new();
    for (name, hosts) in [
        ("first", &["first.test"][..]),
        ("second", &["second.test", "127.0.0.1"]),
        ("wild", &["*.wild.test"]),
    ] {
        let of_hosts = pki.ca.issue(&Leaf::new(name, hosts));
        pki.write_issued(name, &of_hosts);
        pairs.push(format!("{{ cert: \"{dir}/{name}.pem\", key: \"{dir}/{name}.key\" }}"));
        issued.push(of_hosts.der);
    }
    let broker = Broker::echoing();
    let proxy = proxy(&broker, &format!("tls: {{ certificates: [ {} ] }}", pairs.join(", ")));
    let config = pki.client().config();
    for (host, certificate) in [("first.test", 0), ("SECOND.test", 1), ("a.wild.test", 2)] {
        let client = TlsClient::open(&config, proxy.address(), host);
        let client = client.session(host);
        assert_eq!(client.certificate(), issued[certificate], "{host}");
        drop(client);
        assert_eq!(proxy.wait_end(host)["sni"], host.to_ascii_lowercase());
    }
    // Clients with an unknown host, or with no host, get the first certificate.
    for host in ["b.c.wild.test", "127.0.0.1"] {
        let mut client = TlsClient::open(&config, proxy.address(), host);
        let failure = client.failure().to_string();
        assert!(failure.contains("not valid for name"), "{host}: {failure}");
    }
}

#[test]
fn application_protocols() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&broker, &pki.tls(", alpn: [mqtt]"));
    let client = pki.client().alpn("mqtt").open(proxy.address()).session("mqtt");
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"mqtt"[..]));
    let client = pki.client().open(proxy.address()).session("none");
    assert_eq!(client.stream.conn.alpn_protocol(), None);
    let mut client = pki.client().alpn("h2").open(proxy.address());
    assert!(client.failure().to_string().contains("NoApplicationProtocol"));
    let line = proxy.wait_log("a reject", |line| line["event"] == "reject");
    assert_eq!(end(&line), "proxy/handshake/malformed");
}

#[test]
fn sessions_are_resumed() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = proxy(&broker, &pki.tls(""));
    for versions in [Versions::Both, Versions::Only12] {
        let config = pki.client().versions(versions).config();
        let open = || TlsClient::open(&config, proxy.address(), "localhost");
        let first = open().session("first");
        assert!(!first.is_resumed());
        drop(first);
        let mut second = open().session("second");
        assert!(second.is_resumed());
        second.echo(b"\xC0\x00");
    }
}

#[test]
fn client_certificates() {
    let pki = Pki::new();
    let other = Ca::new("Other CA");
    let good = pki.issue("device-1");
    let revoked = pki.ca.issue(&Leaf { serial: 66, ..Leaf::new("device-2", &[]) });
    let expired = pki.ca.issue(&Leaf { valid: years(2000, 2001), ..Leaf::new("device-3", &[]) });
    let foreign = other.issue(&Leaf::new("device-4", &[]));
    pki.write("revoked.crl", &pki.ca.crl(&[66], 4000));
    let files = pki.file("client_ca", "ca.pem") + &pki.file("client_crl", "revoked.crl");
    let broker = Broker::echoing();
    let required = proxy(&broker, &pki.tls(&format!(", client_auth: required{files}")));
    let optional = proxy(&broker, &pki.tls(&format!(", client_auth: optional{files}")));

    for proxy in [&required, &optional] {
        let mut client = pki.client().with(&good).open(proxy.address()).session("good");
        client.echo(b"\xC0\x00");
        drop(client);
        assert_eq!(proxy.wait_end("good")["tls_cn"], "device-1");
        for (number, (issued, alert, said)) in [
            (&revoked, "CertificateRevoked", "Revoked"),
            (&expired, "CertificateExpired", "expired"),
            (&foreign, "UnknownCA", "UnknownIssuer"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = pki.client().with(issued).open(proxy.address());
            let failure = client.failure().to_string();
            assert!(failure.contains(alert), "{failure}");
            let line = rejects(proxy, number + 1).pop().unwrap();
            assert_eq!(end(&line), "proxy/handshake/refused");
            let detail = line["detail"].as_str().unwrap();
            assert!(detail.contains(said), "{detail}");
        }
    }
    let client = pki.client().open(optional.address()).session("nobody");
    drop(client);
    assert_eq!(optional.wait_end("nobody")["tls_cn"], serde_json::Value::Null);
    let failure = pki.client().open(required.address()).failure().to_string();
    assert!(failure.contains("CertificateRequired"), "{failure}");
    assert_eq!(rejects(&required, 4)[3]["detail"], "TLS: peer sent no certificates");
    assert_eq!(broker.connections(), 3);
}

/// A plain listener of the same pool sends a client to the same broker.
#[test]
fn plain_and_tls_agree() {
    let pki = Pki::new();
    let brokers = [Broker::echoing(), Broker::echoing(), Broker::echoing()];
    let by_tls = Config::of(&brokers).listener(&pki.tls("")).start();
    let plain = Config::of(&brokers).start();
    for n in 0..10 {
        let id = format!("c{n}");
        drop(pki.client().open(by_tls.address()).session(&id));
        drop(Client::session(plain.address(), &id));
        assert_eq!(by_tls.wait_end(&id)["upstream"], plain.wait_end(&id)["upstream"], "{id}");
    }
}
