//! CONNECTs that violate the standard: `connect: lenient`.

use super::packets::recording;
use crate::{
    broker::Broker,
    client::{Client, Connect, connack, connect},
    config::Config,
    harness::{end, rejects},
};

/// What can be routed is passed on as it is, and the log says what is wrong with it.
#[test]
fn what_can_be_routed_is_passed_on() {
    let (broker, connects) = recording();
    let config =
        Config::of([&broker]).listener("connect: lenient").another_listener("name: strict");
    let proxy = config.start();
    let flags = |version, bits: u8| {
        let mut packet = connect(version, "device");
        packet[9] |= bits;
        packet
    };
    let mut trailing = connect(4, "device");
    trailing[1] += 2;
    trailing.extend(b"ab");
    let mut long_form = connect(5, "device");
    long_form.splice(1..2, [long_form[1] | 0x80, 0]);
    let mut header_flags = connect(4, "device");
    header_flags[0] = 0x12;
    let unknown_property = Connect { properties: b"\x7E\x01", ..Connect::new(5, "device") }.bytes();
    for (version, sent, fault) in [
        (4, flags(4, 0x01), "reserved"),
        (4, flags(4, 0x20), "Will"),
        (4, trailing, "2 bytes follow"),
        (5, long_form, "shortest form"),
        (4, header_flags, "flags"),
        (5, unknown_property, "property 0x7e"),
    ] {
        let mut client = Client::exchange(proxy.address(), &sent, &connack(version, 0));
        assert_eq!(connects.recv().unwrap(), sent);
        client.echo(b"\xC0\x00");
        drop(client);
        let line = proxy.wait_log(fault, |line| {
            line["connect_malformed"].as_str().is_some_and(|text| text.contains(fault))
        });
        assert_eq!(line["client_id"], "device");
        let mut refused = Client::open(proxy.address_of("strict"));
        refused.send(&sent);
        let _ = refused.rest();
    }
    let refused = rejects(&proxy, 6);
    assert!(refused.iter().all(|line| end(line) == "proxy/connect/malformed"));
    let mut client = Client::exchange(proxy.address(), &connect(4, "sound"), &connack(4, 0));
    client.echo(b"\xC0\x00");
    assert!(proxy.wait_connected("sound")["connect_malformed"].is_null());
}

/// A broker that closes on what others accept is not at fault.
#[test]
fn a_strict_broker_is_not_ejected() {
    let (lenient, _connects) = recording();
    let strict = Broker::start(|mut link| drop(link.read_packet()));
    let config = Config::of([&strict, &lenient]).listener("connect: lenient");
    let proxy = config.pool("health: { passive: { failures: 3 } }").start();
    for number in 0..30 {
        let mut sent = connect(4, &format!("device-{number}"));
        sent[9] |= 0x01;
        Client::exchange(proxy.address(), &sent, &connack(4, 0)).echo(b"\xC0\x00");
    }
    assert!(strict.connections() > 3, "{}", strict.connections());
    let brokers = proxy.get("/api/v1/upstreams");
    assert!(
        !brokers.contains("ejected\":true") && !brokers.contains("\"status\":\"ejected\""),
        "{brokers}"
    );
}

/// What cannot be routed is refused.
#[test]
fn what_cannot_be_routed() {
    let (broker, _connects) = recording();
    let proxy = Config::of([&broker]).listener("connect: lenient").start();
    for sent in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\xff",
        b"\x30\x00",
    ] {
        let mut client = Client::open(proxy.address());
        client.send(sent);
        let _ = client.rest();
    }
    assert_eq!(rejects(&proxy, 3).len(), 3);
    assert_eq!(broker.connections(), 0);
}
