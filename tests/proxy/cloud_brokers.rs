//! The recipes for AWS IoT Core and Azure IoT Hub, with brokers that ask for the same.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    broker::{Broker, Link, version},
    client::{Client, Connect, connack, connect},
    config::Config,
    pki::{Ca, Leaf},
    tls_client::Pki,
};

/// What a broker was told in a handshake and in the CONNECT after it.
#[derive(Clone, Debug, Default)]
struct Seen {
    sni: Option<String>,
    alpn: Option<Vec<u8>>,
    has_certificate: bool,
    connect: Vec<u8>,
}

/// Accepts each client whose CONNECT comes by TLS.
fn broker(config: ServerConfig, seen: &Arc<Mutex<Vec<Seen>>>) -> Broker {
    let (config, seen) = (Arc::new(config), seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Broker::start_on(listener, move |link| serve(&link, &config, &seen))
}

fn serve(link: &Link, config: &Arc<ServerConfig>, seen: &Mutex<Vec<Seen>>) {
    link.patient();
    let connection = ServerConnection::new(config.clone()).unwrap();
    let mut tls = StreamOwned::new(connection, link.stream.try_clone().unwrap());
    let mut packet = vec![0; 1024];
    let Ok(n @ 1..) = tls.read(&mut packet) else { return };
    packet.truncate(n);
    seen.lock().unwrap().push(Seen {
        sni: tls.conn.server_name().map(ToOwned::to_owned),
        alpn: tls.conn.alpn_protocol().map(ToOwned::to_owned),
        has_certificate: tls.conn.peer_certificates().is_some(),
        connect: packet.clone(),
    });
    let _ = tls.write_all(&connack(version(&packet), 0));
    let _ = tls.flush();
    // Until the client leaves.
    let _ = tls.read(&mut [0]);
}

fn server(pki: &Pki, host: &'static str, client_ca: Option<&Ca>, alpn: &[&str]) -> ServerConfig {
    let issued = pki.ca.issue(&Leaf::new("broker", &[host]));
    let mut config = Arc::into_inner(Pki::server(&issued, client_ca)).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn tls(pki: &Pki, keys: &str) -> String {
    format!("tls: {{ ca: \"{}/ca.pem\", {keys} }}", pki.path().display())
}

/// Port 443 tells MQTT by ALPN from HTTPS, and asks for the proxy's certificate and for its own name.
#[test]
fn aws_iot_core_on_port_443() {
    let pki = Pki::new();
    let host = "example-ats.iot.eu-central-1.amazonaws.com";
    let things = Ca::new("things");
    pki.write_issued("thing", &things.issue(&Leaf::new("thing", &[])));
    let seen = Arc::default();
    let alpn = ["x-amzn-mqtt-ca", "x-amzn-http-ca"];
    let broker = broker(server(&pki, host, Some(&things), &alpn), &seen);
    let pair = pki.file("cert", "thing.pem") + &pki.file("key", "thing.key");
    let config = |alpn: &str| {
        Config::of([&broker]).pool(&tls(&pki, &format!("server_name: {host}{pair}{alpn}")))
    };
    let proxy = config(", alpn: [x-amzn-mqtt-ca]").start();
    Client::session(proxy.address(), "thing");
    let Seen { sni, alpn, has_certificate, .. } = seen.lock().unwrap()[0].clone();
    assert_eq!(sni.as_deref(), Some(host));
    assert_eq!(alpn.as_deref(), Some(&b"x-amzn-mqtt-ca"[..]));
    assert!(has_certificate);

    // A protocol that the broker does not have ends the handshake.
    let proxy = config(", alpn: [mqtt]").start();
    Client::exchange(proxy.address(), &connect(4, "c"), &connack(4, 3));
    let detail = proxy.wait_end("c")["detail"].to_string();
    assert!(detail.contains("NoApplicationProtocol"), "{detail}");
}

/// Port 8883 asks for the hub's name, and for a username with the name and the version of the API.
#[test]
fn azure_iot_hub() {
    let pki = Pki::new();
    let seen = Arc::default();
    let broker = broker(server(&pki, "hub.azure-devices.net", None, &[]), &seen);
    let proxy = Config::of([&broker])
        .listener(
            "rewrite: { username: \"hub.azure-devices.net/${client_id}/?api-version=2021-04-12\" }",
        )
        .pool(&tls(&pki, "server_name: hub.azure-devices.net"))
        .start();
    let device = Connect::new(4, "sensor-7").username("sensor");
    let connect = Connect { password: Some("token"), ..device }.bytes();
    drop(Client::exchange(proxy.address(), &connect, &connack(4, 0)));
    let Seen { sni, alpn, connect, .. } = seen.lock().unwrap()[0].clone();
    assert_eq!((sni.as_deref(), alpn), (Some("hub.azure-devices.net"), None));
    let connect = String::from_utf8_lossy(&connect).into_owned();
    assert!(
        connect.contains("hub.azure-devices.net/sensor-7/?api-version=2021-04-12"),
        "{connect}"
    );
    assert!(connect.ends_with("token"), "{connect}");
}

/// As TLS has it (RFC 7301, section 3.2), a broker without ALPN ignores the offer.
#[test]
fn a_broker_that_chooses_no_protocol() {
    let (pki, seen) = (Pki::new(), Arc::default());
    let broker = broker(server(&pki, "127.0.0.1", None, &[]), &seen);
    let proxy = Config::of([&broker]).pool(&tls(&pki, "alpn: [mqtt, x-amzn-mqtt-ca]")).start();
    Client::session(proxy.address(), "c");
    assert_eq!(seen.lock().unwrap()[0].alpn, None);
}
