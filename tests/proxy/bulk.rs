//! More than the sockets hold, at the pace of the reader.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Mutex, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{PATIENCE, Proxy, heavy, wait_for},
};

/// Not a multiple of anything that a relay moves at a time.
const BLOCK: usize = (1 << 20) + 7;

/// 64 MiB: more than the sockets' buffers on the way hold, which the kernel lets grow to some 40 MiB.
const BLOCKS: usize = 64;
const BULK: usize = BLOCK * BLOCKS;

/// Bytes that repeat nowhere near.
fn noise(seed: u64) -> Vec<u8> {
    let mut noise = vec![0; BLOCK];
    fastrand::Rng::with_seed(seed).fill(&mut noise);
    noise
}

/// Writes the bulk in pieces of all sizes.
fn write_bulk(mut to: &TcpStream, seed: u64) {
    let (noise, mut random) = (noise(seed), fastrand::Rng::with_seed(seed));
    for _ in 0..BLOCKS {
        let mut rest = &noise[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..200_000).min(rest.len()));
            to.write_all(piece).unwrap();
            rest = after;
        }
    }
}

fn read_bulk(mut from: &TcpStream, seed: u64) {
    let (noise, mut read) = (noise(seed), vec![0; BLOCK]);
    for block in 0..BLOCKS {
        from.read_exact(&mut read).unwrap();
        assert!(read == noise, "block {block} differs");
    }
}

/// Megabytes both ways at once.
#[test]
fn bulk_both_ways() {
    let _alone = heavy();
    let (told, heard) = channel();
    let broker = Broker::start(move |mut link| {
        if link.accept().is_none() {
            return;
        }
        link.patient();
        thread::scope(|scope| {
            scope.spawn(|| write_bulk(&link.stream, 2));
            read_bulk(&link.stream, 1);
        });
        let _ = told.send(());
    });
    let proxy = Config::of([&broker]).workers(2).start();
    let mut client = Client::session(proxy.address(), "bulk");
    thread::scope(|scope| {
        scope.spawn(|| write_bulk(&client.stream, 1));
        read_bulk(&client.stream, 2);
    });
    heard.recv_timeout(PATIENCE).unwrap();
    client.finish();
    client.expect_end();
    let line = proxy.wait_end("bulk");
    assert_eq!(line["bytes_in"], BULK + connect(4, "bulk").len());
    assert_eq!(line["bytes_out"], BULK + CONNACK_V3.len());
}

/// A receiver that does not read stops its sender; the proxy holds next to nothing meanwhile.
#[test]
fn backpressure() {
    let _alone = heavy();
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let broker = Broker::start(move |mut link| {
        if link.accept().is_none() {
            return;
        }
        link.patient();
        wait.lock().unwrap().recv().unwrap();
        read_bulk(&link.stream, 5);
        write_bulk(&link.stream, 6);
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "slow");
    let before = proxy.memory();
    let holds_little = |proxy: &Proxy| {
        let held = proxy.memory().saturating_sub(before);
        assert!(held < 1 << 20, "{held} bytes held");
    };
    // First the broker does not read, then the client.
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_bulk(&client.stream, 5));
        wait_until_stalled(&proxy, "direction=\"in\"");
        assert!(!writer.is_finished(), "{BULK} bytes are not enough to fill the sockets");
        holds_little(&proxy);
        go.send(()).unwrap();
    });
    wait_until_stalled(&proxy, "direction=\"out\"");
    assert!(proxy.metric("mqtt_lb_bytes_total", &["direction=\"out\""]) < BULK as f64);
    holds_little(&proxy);
    read_bulk(&client.stream, 6);
    client.expect_end();
    client.finish();
    let line = proxy.wait_end("slow");
    assert_eq!(line["bytes_in"], BULK + connect(4, "slow").len());
    assert_eq!(line["bytes_out"], BULK + CONNACK_V3.len());
}

/// Waits until some of the bulk has been relayed, and then for two sweeps no more of it: byte
/// counts reach the metrics once a second.
pub(crate) fn wait_until_stalled(proxy: &Proxy, direction: &str) {
    let (mut last, mut since) = (0.0, Instant::now());
    wait_for("the relay to stall", || {
        let relayed = proxy.metric("mqtt_lb_bytes_total", &[direction]);
        if (relayed - last).abs() > 0.5 {
            (last, since) = (relayed, Instant::now());
        }
        (relayed > 65_536.0 && since.elapsed() > Duration::from_millis(2500)).then_some(())
    });
}
