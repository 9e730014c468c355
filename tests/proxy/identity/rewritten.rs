//! What brokers are told instead: `rewrite`.

use super::packets::recording;
use crate::{
    client::{Client, Connect, connack, connect, packet, text},
    config::Config,
    harness::{Proxy, end, rejects},
    pki::{Ca, Leaf},
    tls_client::Pki,
};

/// Only what is named changes; the Will, its properties, the bridge bit and what follows stay.
#[test]
fn only_what_is_named_changes() {
    let (broker, connects) = recording();
    let rewrite = "rewrite: { client_id: \"${username}/${client_id}\", username: \"${listener}\", \
                   password_file: broker.password, \
                   user_properties: [ { name: x-ip, value: \"ip ${source_ip}\" }, \
                   { name: x-sni, value: \"${sni}\" } ] }";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broker.password"), "s3cret\n").unwrap();
    let config = Config::of([&broker]).listener(rewrite).text();
    let proxy = Proxy::start_in(dir, &config, |_| crate::harness::program());
    let will_3 = (0x2C, [text("will/topic"), text("gone")].concat());
    let will_5 =
        (0x2C, [b"\x05\x18\x00\x00\x00\x05".to_vec(), text("will/topic"), text("gone")].concat());
    let in_properties: &[u8] = b"\x11\x00\x00\x0E\x10\x26\x00\x01a\x00\x01b";
    let out_properties = [in_properties, b"\x26", &text("x-ip"), &text("ip 127.0.0.1")].concat();
    for (version, bridge) in [(3, true), (4, true), (4, false), (5, false)] {
        let will = Some(if version == 5 { will_5.clone() } else { will_3.clone() });
        let sent = Connect {
            bridge,
            will,
            username: Some("acme"),
            password: Some("of the client"),
            properties: if version == 5 { in_properties } else { &[] },
            ..Connect::new(version, "sensor-1")
        };
        let wanted = Connect {
            id: "acme/sensor-1",
            username: Some("mqtt"),
            password: Some("s3cret"),
            properties: if version == 5 { &out_properties } else { &[] },
            ..sent.clone()
        };
        let mut client = Client::open(proxy.address());
        client.send(&[sent.bytes(), b"\xC0\x00".to_vec()].concat());
        client.expect(&connack(version, 0));
        client.expect(b"\xC0\x00");
        assert_eq!(connects.recv().unwrap(), wanted.bytes(), "{version}");
        drop(client);
        let line = proxy.wait_log("the end", |line| {
            line["event"] == "disconnect"
                && line["protocol_version"] == version
                && line["bridge"] == bridge
        });
        assert_eq!((&line["client_id"], &line["username"]), (&"sensor-1".into(), &"acme".into()));
        assert_eq!(line["broker_client_id"], "acme/sensor-1");
        assert_eq!(line["bytes_in"], sent.bytes().len() + 2);
    }
}

/// The key is made of what the broker is sent, and a session is found by both IDs.
#[test]
fn the_route_follows_the_new_id() {
    let brokers: Vec<_> = (0..4).map(|_| recording()).collect();
    let config = Config::of(brokers.iter().map(|(broker, _)| broker));
    let plain = config.clone().start();
    let tenants = config.listener("rewrite: { client_id: \"${username}/${client_id}\" }").start();
    let took = |proxy: &Proxy, connect: &[u8]| {
        let mut client = Client::open(proxy.address());
        client.send(connect);
        client.expect(&connack(4, 0));
        let at = brokers.iter().position(|(_, connects)| connects.try_recv().is_ok()).unwrap();
        (at, client)
    };
    for number in 0..20 {
        let (id, name) = (format!("sensor-{number}"), format!("tenant-{}", number % 3));
        let (there, _) = took(&plain, &connect(4, &format!("{name}/{id}")));
        let (here, client) = took(&tenants, &Connect::new(4, &id).username(&name).bytes());
        assert_eq!(here, there, "{id}");
        let route = tenants.get(&format!("/api/v1/route?client_id={id}"));
        let wanted = format!("\"goes_to\":\"b{}\"", here + 1);
        assert!(route.contains(&wanted), "{wanted}: {route}");
        for wanted in [id.clone(), format!("{name}/{id}")] {
            let found = tenants.get(&format!("/api/v1/sessions?client_id={wanted}"));
            assert!(found.contains(&format!("\"client_id\":\"{id}\"")), "{wanted}: {found}");
            assert!(found.contains(&format!("\"broker_client_id\":\"{name}/{id}\"")), "{found}");
        }
        drop(client);
    }
}

/// A client that lacks a value, and one whose new CONNECT cannot be sent.
#[test]
fn clients_that_cannot_be_rewritten() {
    let (broker, connects) = recording();
    let config = Config::of([&broker])
        .listener("rewrite: { client_id: \"${username}/${client_id}\", password: none }")
        .more("limits: { connect_packet: 128KiB }");
    let proxy = config.start();
    let long = "x".repeat(65_535);
    let nearly = "x".repeat(65_532);
    for (id, username, code) in [
        ("sensor-1", None, 0x85),
        ("sensor-1", Some(""), 0x85),
        ("", Some("anna"), 0x85),
        (&*long, Some("anna"), 0x85),
        (&*nearly, Some("anna"), 0x85),
        (&*nearly, Some("an"), 0),
    ] {
        let sent = Connect { username, password: Some("pw"), ..Connect::new(5, id) };
        let mut client = Client::exchange(proxy.address(), &sent.bytes(), &connack(5, code));
        if code == 0 {
            let id = format!("an/{id}");
            let wanted = Connect { id: &id, password: None, ..sent };
            assert!(connects.recv().unwrap() == wanted.bytes());
        } else {
            client.expect_end();
        }
    }
    let refused = rejects(&proxy, 5);
    assert!(refused.iter().all(|line| end(line) == "proxy/connect/refused"));
    assert_eq!(refused[0]["detail"], "rewrite.client_id needs ${username}, which has no value");
    assert_eq!(refused[2]["detail"], "rewrite.client_id needs ${client_id}, which has no value");
    assert!(refused[3]["detail"].as_str().unwrap().contains("65535"), "{}", refused[3]["detail"]);
    proxy.wait_metric("mqtt_lb_identity_refused_total", &["rule=\"rewrite\""], 5.0);
}

/// A CONNECT of the largest size that is accepted may become larger.
#[test]
fn a_connect_at_the_size_limit() {
    let (broker, connects) = recording();
    let rewrite = "rewrite: { client_id: \"${client_id}-and-more\" }";
    let proxy =
        Config::of([&broker]).listener(rewrite).more("limits: { connect_packet: 1KiB }").start();
    let (pad, id) = ("p".repeat(1024), "sensor");
    let rest = Connect::new(4, id).username("").bytes().len();
    let sent = Connect::new(4, id).username(&pad[..1024 - rest - 1]);
    assert_eq!(sent.bytes().len(), 1024);
    let mut client = Client::open(proxy.address());
    client.send(&[sent.bytes(), packet(0x30, &text("t"))].concat());
    client.expect(&connack(4, 0));
    client.expect(&packet(0x30, &text("t")));
    let wanted = Connect { id: "sensor-and-more", ..sent };
    assert_eq!(connects.recv().unwrap(), wanted.bytes());
}

/// An ID that was assigned is rewritten like any other, and the client is told its own.
#[test]
fn an_assigned_id_is_rewritten() {
    let (broker, connects) = recording();
    let config = Config::of([&broker])
        .listener("rewrite: { client_id: \"acme/${client_id}\" }")
        .pool("balance: { empty_client_id: assign }");
    let proxy = config.start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(5, ""));
    let id = super::packets::assigned_id(&mut client).unwrap();
    assert_eq!(connects.recv().unwrap(), connect(5, &format!("acme/{id}")));
    let line = proxy.wait_log("the session", |line| line["event"] == "connect");
    assert_eq!(line["assigned_client_id"], *id);
    assert_eq!(line["broker_client_id"], format!("acme/{id}"));
}

/// The certificate names the device, whatever it calls itself.
#[test]
fn names_from_the_certificate() {
    let pki = Pki::new();
    let of_clients = Ca::new("CA of clients");
    pki.write("clients.pem", &of_clients.pem());
    let client_ca = pki.file("client_ca", "clients.pem");
    let (broker, connects) = recording();
    let config = Config::of([&broker])
        .listener(&pki.tls(&format!(", client_auth: required{client_ca}")))
        .listener("rewrite: { client_id: \"${tls_cn}\", username: \"${sni}\", password: none }");
    let proxy = config.start();
    let trust = pki.client().with(&of_clients.issue(&Leaf::new("device-7", &[])));
    let mut client = trust.open(proxy.address());
    client.send(
        &Connect { password: Some("pw"), username: Some("me"), ..Connect::new(4, "liar") }.bytes(),
    );
    client.expect(&connack(4, 0));
    assert_eq!(connects.recv().unwrap(), Connect::new(4, "device-7").username("localhost").bytes());
}
