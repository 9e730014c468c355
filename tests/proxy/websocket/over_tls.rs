//! WebSocket over TLS: what a browser calls wss.

use rustix::process::Signal;
use tungstenite::{ClientRequestBuilder, Message};

use super::client::{CLOSE, FIN, REQUEST, SWITCHED, binary, close, frame};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, connect, publish},
    config::Config,
    harness::{Proxy, end},
    tls_client::{Pki, TlsClient},
};

fn proxy(broker: &Broker, pki: &Pki, more: &str) -> Proxy {
    let wss = format!("name: wss, {}, websocket: {{}}", pki.tls(", alpn: [mqtt, http/1.1]"));
    Config::of([broker]).another_listener(&wss).more(more).start()
}

fn upgraded(proxy: &Proxy, pki: &Pki) -> TlsClient {
    let mut client = pki.client().alpn("http/1.1").open(proxy.address_of("wss"));
    client.send(REQUEST.as_bytes());
    client.expect(SWITCHED.as_bytes());
    client
}

/// The same bytes as without TLS, and a line that has both.
#[test]
fn a_session() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let proxy = proxy(&broker, &pki, "");
    let mut client = upgraded(&proxy, &pki);
    client.send(&binary(&connect(4, "wss")));
    client.expect(b"\x82\x04\x20\x02\x00\x00");
    client.send(&frame(FIN | 0x9, b"there?"));
    client.expect(b"\x8A\x06there?");
    client.send(&binary(&publish(b"payload")));
    client.expect(&[&b"\x82\x0C"[..], &publish(b"payload")].concat());
    client.send(&close(1000));
    // A Close, and an end of TLS that is announced as well.
    assert_eq!(client.rest(), (b"\x88\x02\x03\xE8".to_vec(), true));
    let line = proxy.wait_end("wss");
    assert_eq!(end(&line), "client/relay/closed");
    assert_eq!((&line["transport"], &line["tls_version"]), (&"wss".into(), &"TLSv1.3".into()));
    assert_eq!(line["bytes_in"], connect(4, "wss").len() + publish(b"payload").len());
    drop(Client::session(proxy.address(), "wss"));
    assert_eq!(proxy.wait_connected("wss")["upstream"], "b1");
}

/// All of it in one segment behind the client's part of the handshake, and messages larger than a
/// record of TLS, a frame of ours, or a read.
#[test]
fn large_messages() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let proxy = proxy(&broker, &pki, "");
    let mut early = pki.client().open(proxy.address_of("wss"));
    early.send(&[REQUEST.as_bytes(), &binary(&connect(4, "early"))].concat());
    early.expect(SWITCHED.as_bytes());
    early.expect(b"\x82\x04\x20\x02\x00\x00");

    let request = ClientRequestBuilder::new("ws://localhost/mqtt".parse().unwrap());
    let stream = pki.client().open(proxy.address_of("wss")).stream;
    let (mut socket, _) = tungstenite::client(request.with_sub_protocol("mqtt"), stream).unwrap();
    let receive = |socket: &mut tungstenite::WebSocket<_>, wanted: &[u8]| {
        let mut read = Vec::new();
        while read.len() < wanted.len() {
            match socket.read().unwrap() {
                Message::Binary(bytes) => read.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        assert!(read == wanted);
    };
    socket.send(Message::Binary(connect(4, "large").into())).unwrap();
    receive(&mut socket, CONNACK_V3);
    let mut random = fastrand::Rng::with_seed(9);
    for len in [1, 16_360, 16_384, 20_000, 65_536, 150_000] {
        let mut payload = vec![0; len];
        random.fill(&mut payload);
        let packet = publish(&payload);
        socket.send(Message::Binary(packet.clone().into())).unwrap();
        receive(&mut socket, &packet);
    }
    socket.close(None).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(None)));
    assert_eq!(end(&proxy.wait_end("large")), "client/relay/closed");
}

/// Refusals, faults and a drain, each told through TLS.
#[test]
fn ends() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let mut proxy = proxy(&broker, &pki, "drain: { timeout: 0s }");
    let mut lost = pki.client().open(proxy.address_of("wss"));
    lost.send(REQUEST.replace("/mqtt", "/").as_bytes());
    let (answer, announced) = lost.rest();
    assert!(answer.starts_with(b"HTTP/1.1 404 Not Found\r\n") && announced);
    let line = proxy.wait_log("its reject", |line| line["event"] == "reject");
    assert_eq!((&*end(&line), &line["sni"]), ("proxy/handshake/refused", &"localhost".into()));

    let mut faulty = upgraded(&proxy, &pki);
    faulty.send(&binary(&connect(4, "faulty")));
    faulty.expect(b"\x82\x04\x20\x02\x00\x00");
    faulty.send(&frame(FIN | 0x1, b"text"));
    assert_eq!(faulty.rest(), (b"\x88\x02\x03\xEB".to_vec(), true));
    assert_eq!(end(&proxy.wait_end("faulty")), "proxy/relay/malformed");

    let mut drained = upgraded(&proxy, &pki);
    drained.send(&binary(&connect(5, "drained")));
    drained.expect(&[&b"\x82\x05"[..], CONNACK_V5].concat());
    proxy.signal(Signal::TERM);
    let goodbye = [&b"\x82\x03\xE0\x01\x8B"[..], &[FIN | CLOSE, 2, 0x03, 0xE8]].concat();
    assert_eq!(drained.rest(), (goodbye, true));
    assert_eq!(proxy.wait_exit().code(), Some(0));
}
