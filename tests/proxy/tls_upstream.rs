//! Brokers that are reached by TLS.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener},
    sync::{Arc, Mutex},
};

use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use crate::{
    broker::{Broker, Link, version},
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    discovery::brokers_at,
    harness::{end, wait_for},
    name_server::{NameServer, Record, ip},
    pki::{Ca, Leaf},
    tls_client::Pki,
};

/// Accepts every client and sends back all it says, by TLS.
pub(crate) fn broker(config: Arc<ServerConfig>) -> Broker {
    broker_that_tells(config, Arc::default())
}

/// Such a broker, which notes how each handshake went.
pub(crate) fn broker_that_tells(
    config: Arc<ServerConfig>,
    kinds: Arc<Mutex<Vec<HandshakeKind>>>,
) -> Broker {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    broker_on(listener, config, kinds)
}

fn broker_on(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    kinds: Arc<Mutex<Vec<HandshakeKind>>>,
) -> Broker {
    Broker::start_on(listener, move |link| serve(&link, &config, &kinds))
}

/// Accepts the client by TLS, and sends back all it says.
pub(crate) fn serve(link: &Link, config: &Arc<ServerConfig>, kinds: &Mutex<Vec<HandshakeKind>>) {
    let connection = ServerConnection::new(config.clone()).unwrap();
    link.patient();
    let mut tls = StreamOwned::new(connection, link.stream.try_clone().unwrap());
    let mut connect = [0; 2];
    if tls.read_exact(&mut connect).is_err() {
        return;
    }
    let mut rest = vec![0; connect[1].into()];
    if tls.read_exact(&mut rest).is_err() {
        return;
    }
    kinds.lock().unwrap().extend(tls.conn.handshake_kind());
    let answer = connack(version(&[&connect[..], &rest].concat()), 0);
    let _ = tls.write_all(&answer);
    let _ = tls.flush();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = tls.read(&mut buffer) {
        if tls.write_all(&buffer[..n]).is_err() {
            return;
        }
        let _ = tls.flush();
    }
    tls.conn.send_close_notify();
    let _ = tls.flush();
}

/// Answers whatever it is sent as if that were a CONNECT.
fn plain_broker() -> Broker {
    Broker::start(|mut link| {
        let mut buffer = [0; 4096];
        while let Ok(1..) = link.stream.read(&mut buffer) {
            link.send(CONNACK_V3);
        }
    })
}

fn good_broker(pki: &Pki) -> Broker {
    broker(Pki::server(&pki.issue("broker"), None))
}

fn tls(pki: &Pki, more: &str) -> String {
    format!("tls: {{ ca: \"{}/ca.pem\"{more} }}", pki.path().display())
}

#[test]
fn a_session_and_its_checks() {
    let pki = Pki::new();
    let broker = good_broker(&pki);
    let proxy = Config::of([&broker])
        .pool(&tls(&pki, ""))
        .pool("health: { active: { type: mqtt, interval: 100ms } }")
        .start();
    let mut client = Client::session(proxy.address(), "c");
    client.echo(b"\xC0\x00");
    client.echo(&vec![7; 1 << 20]);
    client.finish();
    assert_eq!(client.rest(), (Vec::new(), Ok(())));
    assert_eq!(end(&proxy.wait_end("c")), "client/relay/closed");
    let checks = "mqtt_lb_health_checks_total";
    wait_for("good checks", || (proxy.metric(checks, &["\"ok\""]) > 1.5).then_some(()));
    assert_eq!(proxy.metric(checks, &["\"failed\""]) as u64, 0);
}

/// Of a host with several addresses, the first that is connected is spoken to; one that cannot be
/// used after all comes last from then on.
#[test]
fn several_addresses() {
    let pki = Pki::new();
    let [dead, plain, good] = [1, 2, 3].map(|n| IpAddr::from(ip(39, n)));
    let (port, _plain) = brokers_at(&[plain]);
    let listener = TcpListener::bind((good, port)).unwrap();
    let _broker = broker_on(listener, Pki::server(&pki.issue("broker"), None), Arc::default());
    let known = [dead, plain, good].map(|address| Record::address("tls.x.test", address));
    let server = NameServer::start(known.into());
    let dns = format!("dns: {{ servers: [ \"{}\" ] }}", server.address);
    let proxy = Config::at([format!("tls.x.test:{port}")])
        .pool(&tls(&pki, ", server_name: localhost"))
        .more(&dns)
        .start();
    proxy.wait_stderr(" resolved ");
    Client::exchange(proxy.address(), &connect(4, "first"), &connack(4, 3)).expect_end();
    let line = proxy.wait_end("first");
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("{plain}:{port}: cannot connect: ")), "{detail}");
    for id in ["second", "third"] {
        let mut client = Client::session(proxy.address(), id);
        client.echo(b"\xC0\x00");
        drop(client);
        let line = proxy.wait_end(id);
        assert_eq!(line["upstream_address"], format!("{good}:{port}"));
    }
}

/// TLS on both sides, each with its own certificates.
#[test]
fn both_sides() {
    let pki = Pki::new();
    let of_brokers = Pki::new();
    let broker = good_broker(&of_brokers);
    let proxy = Config::of([&broker]).listener(&pki.tls("")).pool(&tls(&of_brokers, "")).start();
    let mut client = pki.client().open(proxy.address()).session("c");
    client.echo(&vec![9; 1 << 18]);
    client.finish();
    assert_eq!(client.rest(), (Vec::new(), true));
}

#[test]
fn who_the_proxy_is() {
    let pki = Pki::new();
    let of_clients = Ca::new("CA of clients");
    let of_proxy = of_clients.issue(&Leaf::new("proxy", &[]));
    pki.write_issued("proxy", &of_proxy);
    let broker = broker(Pki::server(&pki.issue("broker"), Some(&of_clients)));
    let pair = pki.file("cert", "proxy.pem") + &pki.file("key", "proxy.key");
    let proxy = Config::of([&broker]).pool(&tls(&pki, &pair)).start();
    Client::session(proxy.address(), "c").echo(b"\xC0\x00");
    let nobody = Config::of([&broker]).pool(&tls(&pki, "")).start();
    Client::exchange(nobody.address(), &connect(4, "c"), &connack(4, 3));
}

/// A broker that does not show the right certificate, or no TLS at all, is passed over.
#[test]
fn brokers_that_are_not_who_they_should_be() {
    let pki = Pki::new();
    let foreign = Ca::new("Other CA").issue(&Leaf::new("broker", &["127.0.0.1"]));
    let misnamed = pki.ca.issue(&Leaf::new("broker", &["broker.test"]));
    let bad: [(Broker, &str); 4] = [
        (broker(Pki::server(&foreign, None)), "UnknownIssuer"),
        (broker(Pki::server(&misnamed, None)), "not valid for name"),
        (plain_broker(), "InvalidContentType"),
        (Broker::silent(), "no TLS handshake within 300ms"),
    ];
    let good = good_broker(&pki);
    for (broker, said) in &bad {
        let alone =
            Config::of([broker]).pool(&tls(&pki, "")).pool("connect_timeout: 300ms").start();
        Client::exchange(alone.address(), &connect(4, "c"), &connack(4, 3));
        let line = alone.wait_end("c");
        assert_eq!((&line["event"], &line["end_phase"]), (&"reject".into(), &"dial".into()));
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
        // With a second, good broker, no client notices.
        let both =
            Config::of([broker, &good]).pool(&tls(&pki, "")).pool("connect_timeout: 300ms").start();
        for n in 0..4 {
            let id = format!("c{n}");
            Client::session(both.address(), &id).echo(b"\xC0\x00");
            assert_eq!(both.wait_connected(&id)["upstream"], "b2");
        }
    }
    // The name can be said, and the check be left out.
    let named = tls(&pki, ", server_name: broker.test");
    for keys in [&*named, "tls: { insecure_skip_verify: true }"] {
        let proxy = Config::of([&bad[1].0]).pool(keys).start();
        Client::exchange(proxy.address(), &connect(4, "c"), CONNACK_V3).echo(b"\xC0\x00");
    }
}

#[test]
fn dials_are_resumed() {
    let pki = Pki::new();
    let kinds = Arc::<Mutex<Vec<HandshakeKind>>>::default();
    let broker = broker_that_tells(Pki::server(&pki.issue("broker"), None), kinds.clone());
    let proxy = Config::of([&broker]).pool(&tls(&pki, "")).start();
    for n in 0..5 {
        Client::session(proxy.address(), &format!("c{n}")).echo(b"\xC0\x00");
    }
    let kinds = kinds.lock().unwrap();
    assert_eq!(kinds[0], HandshakeKind::Full);
    assert_eq!(kinds[1..], [HandshakeKind::Resumed; 4]);
}
