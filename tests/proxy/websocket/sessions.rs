//! Good clients.

use std::{
    io::Read,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Mutex, mpsc::channel},
    thread,
};

use rustix::process::Signal;
use tungstenite::{
    ClientRequestBuilder, Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    client::{
        BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, REQUEST, SWITCHED, WsClient, binary, close,
        frame,
    },
    config,
};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, DISCONNECT, connect, publish},
    harness::{PATIENCE, end},
};

const PINGREQ: &[u8] = b"\xC0\x00";

/// What goes over the wires, byte for byte.
#[test]
fn the_brokers_bytes_are_plain_mqtt() {
    let (told, heard) = channel();
    let broker = Broker::start(move |mut link| {
        let connect = link.accept().unwrap();
        let mut rest = Vec::new();
        link.stream.read_to_end(&mut rest).unwrap();
        told.send([connect, rest].concat()).unwrap();
    });
    let proxy = config([&broker]).start();
    let mut client =
        Client::exchange(proxy.address_of("ws"), REQUEST.as_bytes(), SWITCHED.as_bytes());
    client.send(&binary(&connect(4, "bytes")));
    client.expect(b"\x82\x04\x20\x02\x00\x00");
    client.send(&binary(&publish(b"payload")));
    client.send(&frame(FIN | PING, b"ping"));
    client.expect(b"\x8A\x04ping");
    client.send(&frame(FIN | PONG, b"nobody asked"));
    client.send(&binary(DISCONNECT));
    client.send(&close(1000));
    client.expect(b"\x88\x02\x03\xE8");
    client.expect_end();
    let sent = [&connect(4, "bytes")[..], &publish(b"payload"), DISCONNECT].concat();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), sent);
    let line = proxy.wait_end("bytes");
    assert_eq!((&line["listener"], &line["transport"]), (&"ws".into(), &"ws".into()));
    assert_eq!(line["client"], client.stream.local_addr().unwrap().to_string());
    assert_eq!(line["peer"], serde_json::Value::Null);
    assert_eq!(end(&line), "client/relay/closed");
    // Of MQTT, whatever it is wrapped in.
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&sent.len().into(), &4.into()));
}

/// RFC 9112, section 3.2.2: a target of absolute form is for this server, whatever its host is.
#[test]
fn absolute_targets() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    for (n, target) in [
        "http://localhost/mqtt",
        "HTTP://mqtt.example:8083/mqtt?token=a/b",
        "https://[2001:db8::1]/mqtt",
    ]
    .into_iter()
    .enumerate()
    {
        let request = REQUEST.replace("/mqtt", target);
        let tcp = Client::exchange(proxy.address_of("ws"), request.as_bytes(), SWITCHED.as_bytes());
        let mut client = WsClient { tcp };
        client.send(&connect(4, &format!("c{n}")));
        client.expect(CONNACK_V3);
        drop(client);
        assert_eq!(proxy.wait_end(&format!("c{n}"))["transport"], "ws");
    }
}

/// All at once, and split in two anywhere.
#[test]
fn any_split_into_segments() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let sent = [REQUEST.as_bytes(), &binary(&connect(4, "split")), &binary(PINGREQ)].concat();
    let answered = |mut tcp: Client| {
        tcp.expect(SWITCHED.as_bytes());
        WsClient { tcp }.expect(&[CONNACK_V3, PINGREQ].concat());
    };
    thread::scope(|scope| {
        for quarter in 0..4 {
            let (proxy, sent) = (&proxy, &sent);
            scope.spawn(move || {
                for at in (quarter..sent.len()).step_by(4) {
                    let (first, second) = sent.split_at(at);
                    let mut client = Client::open(proxy.address_of("ws"));
                    client.send(first);
                    // So that the proxy sees the two apart, most of the time.
                    thread::yield_now();
                    client.send(second);
                    answered(client);
                }
            });
        }
    });
    let mut byte_by_byte = Client::open(proxy.address_of("ws"));
    for byte in &sent {
        byte_by_byte.send(&[*byte]);
    }
    answered(byte_by_byte);
    let ends = proxy.wait_ends(sent.len() + 1);
    assert_eq!(ends.len(), sent.len() + 1);
    assert!(ends.iter().all(|line| line["event"] == "disconnect"));
}

/// A megabyte in fragments of all sizes, with Pings between them; and several packets in one frame.
#[test]
fn any_fragmentation() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let mut client = WsClient::session(proxy.address_of("ws"), "fragments");
    let mut random = fastrand::Rng::with_seed(11);
    let mut payload = vec![0; 1 << 20];
    random.fill(&mut payload);
    let packet = publish(&payload);
    let mut sent = Vec::new();
    let mut rest = &packet[..];
    let mut in_message = false;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(0..2000).min(rest.len()));
        let opcode = if in_message { CONTINUATION } else { BINARY };
        let is_last = after.is_empty() || random.u8(..) < 20;
        sent.extend(frame(opcode | if is_last { FIN } else { 0 }, piece));
        if random.u8(..) < 20 {
            sent.extend(frame(FIN | PONG, b"nobody asked"));
        }
        in_message = !is_last;
        rest = after;
    }
    let mut sender = Client::on(client.tcp.stream.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| sender.send(&sent));
        client.expect(&packet);
    });
    let many: Vec<u8> = (0..1000).flat_map(|n: u32| publish(&n.to_be_bytes())).collect();
    client.echo(&many);
    drop(client);
    drop(sender);
    let line = proxy.wait_end("fragments");
    let relayed = packet.len() + many.len();
    assert_eq!(line["bytes_in"], relayed + connect(4, "fragments").len());
    assert_eq!(line["bytes_out"], relayed + CONNACK_V3.len());
}

fn tungstenite(address: SocketAddr, subprotocol: &str) -> WebSocket<TcpStream> {
    let uri = format!("ws://{address}/mqtt?from=test").parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(subprotocol);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, response) = tungstenite::client(request, stream).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
    socket
}

fn next_bytes(socket: &mut WebSocket<TcpStream>) -> Vec<u8> {
    match socket.read().unwrap() {
        Message::Binary(bytes) => bytes.into(),
        other => panic!("{other:?}"),
    }
}

/// A client that others have written, which checks what it gets.
#[test]
fn tungstenites_client() {
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    for (subprotocol, version) in [("mqtt", 5), ("mqttv3.1", 3)] {
        let mut socket = tungstenite(proxy.address_of("ws"), subprotocol);
        socket.send(Message::Binary(connect(version, subprotocol).into())).unwrap();
        let connack = if version == 5 { CONNACK_V5 } else { CONNACK_V3 };
        assert_eq!(next_bytes(&mut socket), connack);
        let packet = publish(&vec![7; 40_000]);
        socket.send(Message::Binary(packet.clone().into())).unwrap();
        let mut read = Vec::new();
        while read.len() < packet.len() {
            read.extend(next_bytes(&mut socket));
        }
        assert!(read == packet);
        socket.send(Message::Ping(b"there?".to_vec().into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(b"there?".to_vec().into()));
        let bye = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
        socket.close(Some(bye)).unwrap();
        let Message::Close(Some(answer)) = socket.read().unwrap() else { panic!("no Close") };
        assert_eq!(answer.code, CloseCode::Away);
        assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
        let line = proxy.wait_end(subprotocol);
        assert_eq!(end(&line), "client/relay/closed");
        assert_eq!(line["protocol_version"], version);
    }
}

/// However a client comes, it belongs to the same broker.
#[test]
fn the_same_broker_over_both() {
    let brokers = [Broker::echoing(), Broker::echoing(), Broker::echoing()];
    let proxy = config(&brokers).workers(2).start();
    let mut used = std::collections::HashSet::new();
    for n in 0..24 {
        let id = format!("client-{n}");
        drop(Client::session(proxy.address(), &id));
        drop(WsClient::session(proxy.address_of("ws"), &id));
        let upstreams = |transport: &str| {
            proxy.wait_log("its session", |line| {
                line["event"] == "connect"
                    && line["client_id"] == *id
                    && line["transport"] == transport
            })["upstream"]
                .clone()
        };
        let upstream = upstreams("tcp");
        assert_eq!(upstream, upstreams("ws"), "{id}");
        used.insert(upstream.to_string());
    }
    assert_eq!(used.len(), 3);
}

/// The broker's end of file is a Close, and what the client still says reaches the broker.
#[test]
fn the_broker_ends_first() {
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let broker = Broker::start(move |mut link| {
        let _connect = link.accept();
        link.stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        link.stream.read_to_end(&mut rest).unwrap();
        told.lock().unwrap().send(rest).unwrap();
    });
    let proxy = config([&broker]).more("timeouts: { half_close: 1s }").start();
    let mut client = WsClient::session(proxy.address_of("ws"), "answers");
    client.expect_close(1000);
    client.send(b"\xE0\x00");
    client.tcp.send(&close(1000));
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), DISCONNECT);
    assert_eq!(end(&proxy.wait_end("answers")), "upstream/relay/closed");
    // One that does not answer is not waited for.
    let mut client = WsClient::session(proxy.address_of("ws"), "does-not");
    client.expect_close(1000);
    assert_eq!(end(&proxy.wait_end("does-not")), "proxy/relay/timeout");
}

/// Clients that leave without a word of WebSocket: an end of file is one, and a reset is one.
#[test]
fn ends_without_a_close() {
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let broker = Broker::start(move |mut link| {
        let _connect = link.accept();
        let ended = std::io::copy(&mut link.stream, &mut std::io::sink()).map_err(|e| e.kind());
        told.lock().unwrap().send(ended).unwrap();
    });
    let proxy = config([&broker]).start();
    let mut client = WsClient::session(proxy.address_of("ws"), "eof");
    // In the middle of a frame, even.
    client.tcp.send(&binary(b"\xC0\x00\xC0\x00")[..8]);
    client.tcp.finish();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(2));
    client.expect_close(1000);
    assert_eq!(end(&proxy.wait_end("eof")), "client/relay/closed");
    WsClient::session(proxy.address_of("ws"), "reset").tcp.reset();
    assert_eq!(end(&proxy.wait_end("reset")), "client/relay/reset");
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

/// What a broker says to a client that has sent its Close is not sent behind our own.
#[test]
fn nothing_follows_a_close() {
    let broker = Broker::start(|mut link| {
        let _connect = link.accept();
        let _ = std::io::copy(&mut link.stream, &mut std::io::sink());
        link.send(&publish(&[0; 1000]));
    });
    let proxy = config([&broker]).start();
    let mut client = WsClient::session(proxy.address_of("ws"), "closes");
    client.tcp.send(&frame(FIN | CLOSE, b""));
    assert_eq!(client.read_frame(), (FIN | CLOSE, vec![]));
    client.tcp.expect_end();
    assert_eq!(end(&proxy.wait_end("closes")), "client/relay/closed");
}

/// A proxy that stops says goodbye in MQTT, in WebSocket and in TCP.
#[test]
fn a_drain() {
    let broker = Broker::echoing();
    let mut proxy = config([&broker]).more("drain: { timeout: 0s }").start();
    let mut client = WsClient::open(proxy.address_of("ws"));
    client.send(&connect(5, "drained"));
    client.expect(CONNACK_V5);
    proxy.signal(Signal::TERM);
    assert_eq!(client.read_frame(), (FIN | BINARY, vec![0xE0, 1, 0x8B]));
    client.expect_close(1000);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert_eq!(end(&proxy.wait_end("drained")), "proxy/relay/drain");
}
