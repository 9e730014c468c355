//! Deadlines of the handshake.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    broker::{Broker, echo},
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    harness::{end, wait_for},
};

#[test]
fn clients_that_never_finish_their_connect() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("timeouts: { connect_packet: 1500ms }").start();
    thread::scope(|scope| {
        scope.spawn(|| Client::open(proxy.address()).expect_end());
        scope.spawn(|| {
            let mut begun = Client::open(proxy.address());
            begun.send(&connect(4, "begun")[..9]);
            begun.expect_end();
        });
        // A byte now and then buys no time: the deadline is one for the whole packet.
        let mut slow = Client::open(proxy.address());
        let packet = connect(4, &"x".repeat(60_000));
        let mut bytes = packet.chunks(1);
        wait_for("the slow one to be cut off", || {
            thread::sleep(Duration::from_millis(100));
            slow.stream.write_all(bytes.next().unwrap()).err()
        });
    });
    let ends = proxy.wait_ends(3);
    for line in &ends {
        assert_eq!(line["event"], "reject");
        assert_eq!(end(line), "proxy/connect/timeout");
        let lasted = line["duration_ms"].as_f64().unwrap();
        assert!((1500.0..10_000.0).contains(&lasted), "{lasted} ms");
    }
    let details: Vec<_> = ends.iter().filter_map(|line| line["detail"].as_str()).collect();
    assert!(details.contains(&"nothing was sent"), "{details:?}");
    assert!(details.contains(&"incomplete CONNECT: only 9 bytes were sent"), "{details:?}");
    assert_eq!(proxy.metric("mqtt_lb_rejects_total", &["reason=\"timeout\""]) as u64, 3);
    assert_eq!(broker.connections(), 0);
}

#[test]
fn a_client_that_closes_before_its_connect() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    drop(Client::open(proxy.address()));
    Client::open(proxy.address()).reset();
    let mut begun = Client::open(proxy.address());
    begun.send(b"\x10\x20\x00\x04MQ");
    drop(begun);
    let mut ends: Vec<_> = proxy.wait_ends(3).iter().map(end).collect();
    ends.sort();
    assert_eq!(ends, ["client/connect/closed", "client/connect/closed", "client/connect/reset"]);
}

#[test]
fn a_broker_that_never_answers() {
    let broker = Broker::silent();
    let proxy = Config::of([&broker]).pool("connack_timeout: 500ms").start();
    for (version, code) in [(3, 3), (4, 3), (5, 0x88)] {
        let id = format!("v{version}");
        let answer = connack(version, code);
        Client::exchange(proxy.address(), &connect(version, &id), &answer).expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(end(&line), "proxy/connack/timeout");
        assert_eq!(line["event"], "reject");
        assert_eq!(line["connack"], code);
        assert_eq!(line["upstream"], "b1");
        assert!(line["duration_ms"].as_f64().unwrap() >= 500.0);
    }
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", &["outcome=\"no_connack\""]) as u64, 3);
    assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &[]) as u64, 0);
}

/// A listener whose queue is full, so that the kernel lets SYNs go unanswered.
struct BlackHole {
    address: SocketAddr,
    listener: Socket,
    _queued: Vec<Socket>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        wait_for("the queue to be full", || {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let answer = client.connect_timeout(&address, Duration::from_millis(300));
            queued.push(client);
            answer.err()
        });
        let address = address.as_socket().unwrap();
        Self { address, listener, _queued: queued }
    }
}

#[test]
fn a_broker_out_of_reach() {
    let hole = BlackHole::new();
    let broker = Broker::echoing();
    let addresses = [hole.address.to_string(), broker.address.to_string()];
    let timeout = "connect_timeout: 300ms";
    let proxy = Config::at(addresses).pool(timeout).start();
    let mut timed_out = 0;
    for n in 0..12 {
        let id = format!("c{n}");
        let _client = Client::exchange(proxy.address(), &connect(4, &id), CONNACK_V3);
        let line = proxy.wait_connected(&id);
        assert_eq!(line["upstream"], "b2");
        if line["tries"] == 2 {
            timed_out += 1;
            assert_eq!(line["route"], "fallback");
        }
    }
    assert!(timed_out > 0, "no client was at home on b1");
    let outcome = &["upstream=\"b1\"", "outcome=\"connect_timeout\""];
    assert_eq!(proxy.metric("mqtt_lb_upstream_tries_total", outcome) as u64, timed_out);

    let only = Config::at([hole.address.to_string()]).pool(timeout).start();
    Client::exchange(only.address(), &connect(5, "lost"), &connack(5, 0x88)).expect_end();
    assert_eq!(end(&only.wait_end("lost")), "proxy/dial/timeout");
}

/// A SYN that is lost is sent again before the kernel would, which waits a second.
#[test]
fn a_lost_syn() {
    wait_for("a dial that the kernel alone would not have got through", || {
        let hole = BlackHole::new();
        let config = Config::at([hole.address.to_string()]).pool("connect_timeout: 900ms");
        let proxy = config.start();
        // That which found the queue full is one.
        let before = dials(hole.address);
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, "lost"));
        wait_for("the SYN", || (dials(hole.address) > before).then_some(()));
        let _broker = Broker::start_on(hole.listener.into(), echo);
        let mut answer = [0; 4];
        client.stream.read_exact(&mut answer).unwrap();
        // On a machine that is slow to let it in, the second SYN may be lost as well.
        (answer == *CONNACK_V3).then(|| assert_eq!(proxy.wait_connected("lost")["tries"], 1))
    });
}

/// How many connections to the address wait for an answer to their SYN: state 2 of proc(5)'s net/tcp.
fn dials(to: SocketAddr) -> usize {
    let port = format!(":{:04X} 02", to.port());
    fs::read_to_string("/proc/net/tcp").unwrap().matches(&port).count()
}
