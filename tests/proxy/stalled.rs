//! What does not move must hold nothing that others need.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    broker::Broker,
    client::{Client, connack, connect},
    config::Config,
    harness::{end, heavy, wait_for},
    waiting::assert_at_rest,
};

/// Behind a log that cannot be written, clients wait without work, sessions go on, and those that
/// end leave their broker.
#[test]
fn a_log_that_cannot_be_written() {
    let _alone = heavy();
    let ended = Arc::new(AtomicUsize::new(0));
    let broker = Broker::start({
        let ended = ended.clone();
        move |mut link| {
            let Some(_connect) = link.accept() else { return };
            let _ = io::copy(&mut link.stream.try_clone().unwrap(), &mut link.stream);
            ended.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut config = Config::of([&broker]);
    config.access_log = "{ path: /dev/full, format: json, when_full: block }".to_owned();
    let proxy = config.start();
    let mut staying: Vec<_> =
        (0..10).map(|n| Client::session(proxy.address(), &format!("staying-{n}"))).collect();

    // A long name makes long lines: soon the queue and the worker's own buffer are full.
    let name = "n".repeat(2000);
    let mut served = 0;
    let waiting = wait_for("the log to hold a client back", || {
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, &format!("{served}-{name}")));
        client.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        match client.stream.peek(&mut [0]) {
            Ok(_) => {
                served += 1;
                None
            }
            Err(_) => Some(client),
        }
    });
    assert_at_rest(&proxy, "a client that waits for the log");
    for client in &mut staying {
        client.echo(b"\xC0\x00");
    }
    wait_for("the others to have left their broker", || {
        (ended.load(Ordering::Relaxed) == served).then_some(())
    });
    staying.into_iter().for_each(Client::reset);
    wait_for("those that stayed to leave it too", || {
        (ended.load(Ordering::Relaxed) == served + 10).then_some(())
    });
    drop(waiting);
}

/// A client that stops reading keeps the pipe that has its bytes; so there is a limit to pipes.
#[test]
fn clients_that_do_not_read_a_bulk_stream() {
    const CLIENTS: usize = 24;
    let stuck = Arc::new(AtomicUsize::new(0));
    let broker = Broker::start({
        let stuck = stuck.clone();
        move |mut link| {
            let Some(_connect) = link.accept() else { return };
            link.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let block = vec![0x30; 1 << 20];
            while link.stream.write_all(&block).is_ok() {}
            stuck.fetch_add(1, Ordering::Relaxed);
            link.patient();
            let _ = io::copy(&mut link.stream, &mut io::sink());
        }
    });
    let proxy = Config::of([&broker]).start();
    let of_the_test = proxy.pipe_ends();
    let deaf: Vec<_> =
        (0..CLIENTS).map(|n| Client::session(proxy.address(), &format!("deaf-{n}"))).collect();
    wait_for("all streams to stand", || (stuck.load(Ordering::Relaxed) == CLIENTS).then_some(()));
    // On a busy machine some streams stand before they were fast enough to be given a pipe.
    let taken = proxy.pipe_ends() - of_the_test;
    assert!((1..=2 * 16).contains(&taken), "{taken} ends of pipes");
    drop(deaf);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
}

/// A broker that refuses is to close (MQTT-3.2.2-5); one that does not is not waited for long.
#[test]
fn a_refusal_that_the_broker_does_not_end() {
    let broker = Broker::start(|mut link| {
        link.read_packet();
        link.send(&connack(4, 5));
        let _ = io::copy(&mut link.stream, &mut io::sink());
    });
    let proxy = Config::of([&broker]).more("timeouts: { half_close: 1s, idle: none }").start();
    let mut client = Client::exchange(proxy.address(), &connect(4, "refused"), &connack(4, 5));
    client.expect_end();
    let line = proxy.wait_end("refused");
    assert_eq!((&line["event"], &*end(&line)), (&"reject".into(), "upstream/connack/refused"));
    assert_eq!(line["connack_reason"], "not_authorized");
}
