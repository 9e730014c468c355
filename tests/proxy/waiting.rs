//! Whatever a connection waits for, it waits without work.

use std::{io, io::Write, net::Shutdown, thread, time::Duration};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, heavy, wait_for},
};

/// Processor time of a second must be next to none: a session that is woken again and again would
/// take all of it.
#[track_caller]
pub(crate) fn assert_at_rest(proxy: &Proxy, what: &str) {
    let before = proxy.processor_ticks();
    thread::sleep(Duration::from_secs(1));
    let ticks = proxy.processor_ticks() - before;
    assert!(ticks < 25, "{ticks} of 100 ticks spent on {what}");
}

/// Every kind of waiting at once, behind one proxy each for what would hide another.
#[test]
fn connections_that_wait() {
    let _alone = heavy();
    // By the first letter of the client ID: says nothing; finishes first; does not read; echoes.
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        match connect[14] {
            b's' => drop(io::copy(&mut link.stream, &mut io::sink())),
            b'f' => {
                link.send(CONNACK_V3);
                link.stream.shutdown(Shutdown::Write).unwrap();
                let _ = io::copy(&mut link.stream, &mut io::sink());
            }
            b'd' => {
                link.send(CONNACK_V3);
                // Until the test's end, which drops the proxy and so the connection's other side.
                wait_for("the proxy's end", || {
                    thread::sleep(Duration::from_millis(50));
                    link.stream.take_error().unwrap()
                });
            }
            _ => {
                link.send(CONNACK_V3);
                let _ = io::copy(&mut link.stream.try_clone().unwrap(), &mut link.stream);
            }
        }
    });
    let proxy = Config::of([&broker]).start();
    let open = |id: &str| {
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, id));
        client
    };
    assert_at_rest(&proxy, "nothing at all");

    let silent = Client::open(proxy.address());
    let mut begun = Client::open(proxy.address());
    begun.send(b"\x10\x20\x00\x04");
    let unanswered = open("s-open");
    let unanswered_and_finished = open("s-finished");
    unanswered_and_finished.finish();
    broker.wait_connections(2);
    let mut idle = open("idle");
    idle.expect(CONNACK_V3);
    let mut left_by_broker = open("f");
    left_by_broker.expect(CONNACK_V3);
    left_by_broker.expect_end();
    assert_at_rest(&proxy, "handshakes and half-closed sessions");

    let mut deaf = open("deaf");
    deaf.expect(CONNACK_V3);
    deaf.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let block = vec![0x30; 1 << 20];
    assert!((0..100).any(|_| deaf.stream.write_all(&block).is_err()));
    assert_at_rest(&proxy, "a broker that does not read");
    deaf.finish();
    assert_at_rest(&proxy, "a finished client of such a broker");

    idle.echo(b"\xC0\x00");
    drop((silent, begun, unanswered, unanswered_and_finished, left_by_broker, deaf));
}

/// A peer that has finished and whose own receiving is stalled.
#[test]
fn a_client_that_finishes_and_does_not_read() {
    let broker = Broker::start(|mut link| {
        link.accept();
        let _ = io::copy(&mut link.stream, &mut io::sink());
        let block = vec![0x55; 1 << 20];
        for _ in 0..100 {
            link.send(&block);
        }
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "reads-later");
    client.finish();
    wait_for("the broker's bytes", || {
        (proxy.metric("mqtt_lb_bytes_total", &["direction=\"out\""]) > 1e6).then_some(())
    });
    assert_at_rest(&proxy, "a client that does not read");
    let (rest, ended) = client.rest();
    assert_eq!((rest.len(), ended), (100 << 20, Ok(())));
}
