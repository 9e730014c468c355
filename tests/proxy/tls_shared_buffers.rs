//! One client's failing TLS does not affect any other client.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
};

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::{
    broker::{Broker, echo_to},
    client::{CONNACK_V3, connect, publish},
    config::Config,
    harness::{PATIENCE, end},
    tls_client::{BAD_RECORD, Pki, TlsClient},
};

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
     Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Payload bytes of each PUBLISH: two of them are still fewer than the proxy joins with the next.
const PAYLOAD: usize = 1300;
/// As many as no kernel has room for between the proxy and a client that does not read.
const MESSAGES: usize = 7000;

/// A broker that sends the client called `slow` a PUBLISH for each word of the test.
fn broker() -> (Broker, Sender<()>) {
    let (go, told) = mpsc::channel::<()>();
    let told: std::sync::Mutex<Receiver<()>> = told.into();
    let broker = Broker::start(move |mut link| {
        let Some(packet) = link.read_packet() else { return };
        if !packet.ends_with(b"slow") {
            return echo_to(link, &packet);
        }
        link.send(CONNACK_V3);
        for () in &*told.lock().unwrap() {
            // What the proxy does not read any more is not waited for.
            link.stream.set_nonblocking(true).unwrap();
            let _ = link.stream.write(&publish(&[b'x'; PAYLOAD]));
        }
    });
    (broker, go)
}

/// A client with hardly any room for what it does not read.
fn narrow(pki: &Pki, address: SocketAddr) -> TlsClient {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let socket: TcpStream = socket.into();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(pki.client().config(), name).unwrap();
    TlsClient { stream: StreamOwned::new(connection, socket) }
}

/// A client of `listener` reads no more, and then breaks TLS while less waits for it than is written
/// in one call. A neighbour on the same worker and the next client receive only their own bytes.
fn tell(listener: &str) {
    let (pki, (broker, go)) = (Pki::new(), broker());
    let secured = format!("name: wss, {}, websocket: {{}}", pki.tls(""));
    let proxy = Config::of([&broker]).listener(&pki.tls("")).another_listener(&secured).start();
    let mut neighbour = pki.client().open(proxy.address()).session("neighbour");
    let mut slow = narrow(&pki, proxy.address_of(listener));
    if listener == "wss" {
        slow.send(REQUEST.as_bytes());
        slow.expect(SWITCHED.as_bytes());
        let packet = connect(4, "slow");
        slow.send(&[&[0x82, 0x80 | packet.len() as u8, 0, 0, 0, 0][..], &packet].concat());
        slow.expect(b"\x82\x04\x20\x02\x00\x00");
    } else {
        slow = slow.session("slow");
    }
    for _ in 0..MESSAGES {
        go.send(()).unwrap();
        // The worker has had its turn once this is back.
        neighbour.echo(b"\xC0\x00");
    }
    slow.stream.sock.write_all(&BAD_RECORD).unwrap();
    let line = proxy.wait_end("slow");
    assert_eq!(end(&line), "proxy/relay/malformed");
    assert_eq!(line["detail"], "cannot decrypt peer's message");
    for number in 0..20 {
        neighbour.echo(&publish(b"to the neighbour alone"));
        let mut next = pki.client().open(proxy.address()).session(&format!("next-{number}"));
        next.echo(b"\xC0\x00");
    }
    // All that it reads at last is what was meant for it.
    let (mut plain, mut stream) = (Vec::new(), slow.stream);
    let error = io::copy(&mut stream, &mut plain).err();
    assert!(plain.len() > 100 * PAYLOAD, "{error:?}");
    let complaint = error.as_ref().and_then(|error| error.get_ref());
    let complaint = complaint.and_then(|error| error.downcast_ref::<rustls::Error>());
    assert!(!matches!(complaint, Some(rustls::Error::DecryptError)), "{error:?}");
}

#[test]
fn a_websocket_that_breaks_tls() {
    tell("wss");
}

#[test]
fn a_session_that_breaks_tls() {
    tell("mqtt");
}
