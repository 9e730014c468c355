//! Sessions whose TLS is passed through: they move, carry bulk data, and have a PROXY header of v1.

use std::{io::Write, sync::mpsc, thread};

use super::{config, hello, recording_broker, server_name};
use crate::{
    broker::Broker,
    client::Client,
    harness::{PATIENCE, Proxy, end},
    proxy_protocol_out::read_header,
    reload::take,
};

const NAMES: usize = 40;

fn named(name: &str) -> Vec<u8> {
    hello(&[(0, &server_name(name.as_bytes()))])
}

/// A session with a recording broker.
fn session(proxy: &Proxy, name: &str) -> Client {
    let hello = named(name);
    Client::exchange(proxy.address(), &hello, &hello)
}

/// A broker is added: the sessions of the names that it gets are ended, and no others.
#[test]
fn rebalance() {
    let (one, two) = (recording_broker().0, recording_broker().0);
    let keys = "rebalance: { rate: 100 }";
    let proxy = config([&one]).pool(keys).start();
    let name = |n: usize| format!("tenant-{n}.example");
    let mut clients: Vec<_> = (0..NAMES).map(|n| session(&proxy, &name(n))).collect();
    take(&proxy, &config([&one, &two]).pool(keys));
    let moved = |n: usize| {
        drop(session(&proxy, &name(n)));
        let is_new = |line: &serde_json::Value| {
            line["sni"] == *name(n) && line["event"] == "disconnect" && line["end_by"] == "client"
        };
        proxy.wait_log(&name(n), is_new)["upstream"] == "b2"
    };
    let moved: Vec<_> = (0..NAMES).map(moved).collect();
    let count = moved.iter().filter(|moved| **moved).count();
    assert!((5..NAMES - 5).contains(&count), "{count}");
    for (n, (client, moved)) in clients.iter_mut().zip(&moved).enumerate() {
        if *moved {
            // No DISCONNECT: the packets are hidden.
            client.expect_end();
            let by_proxy = proxy
                .wait_log(&name(n), |line| line["sni"] == *name(n) && line["end_by"] == "proxy");
            assert_eq!(end(&by_proxy), "proxy/relay/rebalance");
        } else {
            client.echo(b"still here");
        }
    }
}

/// As much as is spliced, in both directions at once; the log counts every byte.
#[test]
fn bulk_data() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 256;
    let broker = Broker::start(|mut link| {
        let mut reader = link.stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut link.stream);
    });
    let proxy = config([&broker]).start();
    let mut client = session(&proxy, "bulk.example");
    let mut sender = client.stream.try_clone().unwrap();
    let chunk = |n: usize| vec![n as u8; CHUNK];
    thread::scope(|scope| {
        scope.spawn(|| (0..CHUNKS).for_each(|n| sender.write_all(&chunk(n)).unwrap()));
        for n in 0..CHUNKS {
            client.expect(&chunk(n));
        }
    });
    drop((client, sender));
    let line = proxy.wait_log("the end", |line| line["event"] == "disconnect");
    let bytes = named("bulk.example").len() + CHUNK * CHUNKS;
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&bytes.into(), &bytes.into()));
}

/// A broker that does not listen is passed over, and the next gets the same header.
#[test]
fn a_header_of_v1_after_a_retry() {
    let (tell, seen) = mpsc::channel();
    let broker = Broker::start(move |mut link| {
        let Some(header) = read_header(&mut link) else { return };
        let _ = tell.send(header);
        let mut reader = link.stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut link.stream);
    });
    let mut closed = Broker::silent();
    closed.stop();
    let mut config = config([&broker, &closed]).pool("send_proxy_protocol: v1").pool("tries: 2");
    config.pool.retain(|line| !line.starts_with("balance"));
    let proxy = config.pool("balance: { key: sni, algorithm: rendezvous }").start();
    for n in 0..10 {
        let client = session(&proxy, &format!("{n}.example"));
        let (from, to) = (client.stream.local_addr().unwrap(), proxy.address());
        let wanted =
            format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), wanted.as_bytes());
    }
    let ends = proxy.wait_ends(10);
    assert!(ends.iter().all(|line| line["upstream"] == "b1"), "{ends:?}");
    assert!(ends.iter().any(|line| line["tries"] == 2), "{ends:?}");
}
