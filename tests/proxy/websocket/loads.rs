//! Many sessions, slow readers and floods.

use std::{
    io::Write,
    sync::{Mutex, mpsc::channel},
    thread,
};

use super::{
    client::{FIN, PING, PONG, WsClient, binary, frame},
    config,
};
use crate::{
    bad_input::undisturbed,
    broker::Broker,
    bulk::wait_until_stalled,
    client::{CONNACK_V3, Client, connect, publish},
    harness::{PATIENCE, end, heavy, wait_for},
    waiting::assert_at_rest,
};

const IDLE: usize = 1000;

/// Sessions that say nothing keep no buffer, and cost no work.
#[test]
fn idle_sessions() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    // What the first ones make grow stays.
    drop(
        (0..100)
            .map(|n| WsClient::session(proxy.address_of("ws"), &format!("w-{n}")))
            .collect::<Vec<_>>(),
    );
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    let before = proxy.memory();
    let mut idle: Vec<_> = (0..IDLE)
        .map(|n| WsClient::session(proxy.address_of("ws"), &format!("idle-{n}")))
        .collect();
    for client in &mut idle {
        client.echo(&publish(&[1; 3000]));
        client.tcp.send(&frame(FIN | PING, b"there?"));
        assert_eq!(client.read_frame(), (FIN | PONG, b"there?".to_vec()));
    }
    let each = proxy.memory().saturating_sub(before) / IDLE as u64;
    assert!(each < 3000, "{each} bytes each");
    assert_at_rest(&proxy, "sessions over WebSocket");
}

/// A megabyte and a bit, in packets that repeat nowhere near.
fn bulk(seed: u64) -> Vec<u8> {
    let mut payload = vec![0; (1 << 20) + 7];
    fastrand::Rng::with_seed(seed).fill(&mut payload);
    publish(&payload)
}

const BULKS: usize = 64;

/// A client that does not read stops its broker, and Pings meanwhile change nothing; when it reads,
/// all is there, and the newest Pong.
#[test]
fn a_slow_reader() {
    let _alone = heavy();
    let packet = bulk(3);
    let (told, heard) = channel();
    let told = Mutex::new(told);
    let broker = Broker::start({
        let packet = packet.clone();
        move |mut link| {
            if link.accept().is_none() {
                return;
            }
            link.patient();
            let written = (0..BULKS).all(|_| link.stream.write_all(&packet).is_ok());
            told.lock().unwrap().send(written).unwrap();
            let _ = std::io::copy(&mut link.stream, &mut std::io::sink());
        }
    });
    let proxy = config([&broker]).start();
    let mut client = WsClient::open(proxy.address_of("ws"));
    let before = proxy.memory();
    client.send(&connect(4, "slow"));
    wait_until_stalled(&proxy, "direction=\"out\"");
    assert!(heard.try_recv().is_err(), "{BULKS} MiB are not enough to fill the sockets");
    for n in 0..100_000u32 {
        client.tcp.send(&frame(FIN | PING, &n.to_be_bytes()));
    }
    // It has read them all once what follows them has gone through.
    client.send(b"\xC0\x00");
    wait_for("the packet behind the Pings", || {
        (proxy.metric("mqtt_lb_bytes_total", &["direction=\"in\""]) as usize
            == connect(4, "slow").len() + 2)
            .then_some(())
    });
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 512 * 1024, "{grown} bytes held");

    let mut pongs = Vec::new();
    let mut read = Vec::new();
    let whole = CONNACK_V3.len() + BULKS * packet.len();
    while read.len() < whole || pongs.last() != Some(&99_999u32.to_be_bytes().to_vec()) {
        match client.read_frame() {
            (first, payload) if first == FIN | PONG => pongs.push(payload),
            (_, payload) => read.extend(payload),
        }
    }
    let (connack, bulks) = read.split_at(CONNACK_V3.len());
    assert_eq!(connack, CONNACK_V3);
    assert!(bulks.chunks(packet.len()).all(|one| one == packet));
    assert!(pongs.len() < 10_000, "{} Pongs waited", pongs.len());
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(true));
}

/// A broker that does not read stops its client.
#[test]
fn a_slow_broker() {
    let _alone = heavy();
    let packet = bulk(4);
    let (go, wait) = channel::<()>();
    let (told, heard) = channel();
    let (wait, told) = (Mutex::new(wait), Mutex::new(told));
    let broker = Broker::start({
        let packet = packet.clone();
        move |mut link| {
            if link.accept().is_none() {
                return;
            }
            wait.lock().unwrap().recv().unwrap();
            link.patient();
            let good = (0..BULKS).all(|_| link.read_packet().as_ref() == Some(&packet));
            told.lock().unwrap().send(good).unwrap();
        }
    });
    let proxy = config([&broker]).start();
    let mut client = WsClient::session(proxy.address_of("ws"), "fast");
    let before = proxy.memory();
    let mut sender = Client::on(client.tcp.stream.try_clone().unwrap());
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for _ in 0..BULKS {
                sender.send(&binary(&packet));
            }
        });
        wait_until_stalled(&proxy, "direction=\"in\"");
        assert!(!sending.is_finished());
        let grown = proxy.memory().saturating_sub(before);
        assert!(grown < 512 * 1024, "{grown} bytes held");
        go.send(()).unwrap();
    });
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(true));
    client.expect_close(1000);
    drop((client, sender));
    let line = proxy.wait_end("fast");
    assert_eq!(line["bytes_in"], BULKS * packet.len() + connect(4, "fast").len());
}

/// Nothing but Pings, as fast as they go: the worker is not theirs alone, and nothing piles up.
#[test]
fn a_flood_of_pings() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let proxy = config([&broker]).start();
    let before = proxy.memory();
    let flood: Vec<u8> = frame(FIN | PING, &[b'p'; 125]).repeat(1000);
    let client = WsClient::session(proxy.address_of("ws"), "flood");
    undisturbed(&proxy, || {
        let mut reader = client.tcp.stream.try_clone().unwrap();
        let mut sender = Client::on(client.tcp.stream.try_clone().unwrap());
        thread::scope(|scope| {
            let answers = scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
            for _ in 0..200 {
                sender.send(&flood);
            }
            sender.finish();
            // Each of 127 bytes; no Ping is owed one once a newer has come.
            let answered = answers.join().unwrap().unwrap();
            assert!((127..200_000 * 127).contains(&answered), "{answered} bytes of Pongs");
        });
    });
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes");
    let line = proxy.wait_end("flood");
    assert_eq!(end(&line), "client/relay/closed");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&connect(4, "flood").len().into(), &CONNACK_V3.len().into())
    );
}
