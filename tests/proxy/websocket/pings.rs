//! `websocket.ping`: Pings of the proxy on idle connections.

use std::time::{Duration, Instant};

use super::client::{CLOSE, FIN, PING, PONG, WsClient, frame};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, connect, publish},
    config::Config,
    harness::{Proxy, end},
};

fn start(broker: &Broker, more: &str) -> Proxy {
    Config::of([broker]).another_listener("name: ws, websocket: { ping: 1s }").more(more).start()
}

/// They come while nothing else does, and the answers are the proxy's alone.
#[test]
fn on_an_idle_connection() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "");
    let mut client = WsClient::session(proxy.address_of("ws"), "idle");
    for _ in 0..2 {
        let since = Instant::now();
        assert_eq!(client.read_frame(), (FIN | PING, Vec::new()));
        // The sweep counts whole seconds.
        assert!(since.elapsed() < Duration::from_secs(4));
        client.tcp.send(&frame(FIN | PONG, b""));
    }
    client.echo(&publish(b"still MQTT"));
    client.tcp.finish();
    let line = proxy.wait_end("idle");
    let packet = publish(b"still MQTT").len();
    assert_eq!(line["bytes_in"], connect(4, "idle").len() + packet);
    assert_eq!(line["bytes_out"], CONNACK_V3.len() + packet);
}

/// Neither a Ping nor its answer is traffic of the client.
#[test]
fn an_idle_session_ends_all_the_same() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "timeouts: { idle: 3s }");
    let mut client = WsClient::session(proxy.address_of("ws"), "silent");
    let mut pings = 0;
    loop {
        match client.read_frame() {
            (first, _) if first == FIN | PING => {
                pings += 1;
                assert!(pings < 20, "the session does not end");
                client.tcp.send(&frame(FIN | PONG, b""));
            }
            _ => break,
        }
    }
    assert!(pings > 0);
    assert_eq!(end(&proxy.wait_end("silent")), "proxy/relay/idle");
}

/// A client that answers nothing is gone, although it has no keep alive; one that sends data instead
/// of Pongs is not.
#[test]
fn unanswered() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "");
    let mut gone = WsClient::session(proxy.address_of("ws"), "gone");
    let mut rude = WsClient::session(proxy.address_of("ws"), "rude");
    for client in [&mut gone, &mut rude] {
        assert_eq!(client.read_frame(), (FIN | PING, Vec::new()));
    }
    for _ in 0..4 {
        rude.echo(&publish(b"data"));
        assert_eq!(rude.read_frame(), (FIN | PING, Vec::new()));
    }
    assert_eq!(gone.read_frame(), (FIN | PING, Vec::new()));
    // Normal closure.
    assert_eq!(gone.read_frame(), (FIN | CLOSE, vec![0x03, 0xE8]));
    assert_eq!(end(&proxy.wait_end("gone")), "proxy/relay/idle");
    rude.echo(&publish(b"still there"));
}

/// A client that is sent data is sent none until that stops.
#[test]
fn not_between_data() {
    let broker = Broker::echoing();
    let proxy = start(&broker, "");
    let mut client = WsClient::session(proxy.address_of("ws"), "busy");
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        // Fails at a frame that is not binary.
        client.echo(&publish(&[7; 500]));
    }
    assert_eq!(client.read_frame().0, FIN | PING);
}
