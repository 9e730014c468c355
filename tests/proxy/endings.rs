//! How one side's end reaches the other, and sessions that end for silence.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    sync::mpsc::channel,
    thread,
};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, Connect, connect, publish},
    config::Config,
    harness::{PATIENCE, end, wait_for},
};

/// A broker still answers a client that has finished.
#[test]
fn a_client_that_finishes_first() {
    let broker = Broker::start(|mut link| {
        link.accept();
        let mut read = Vec::new();
        if link.stream.read_to_end(&mut read).is_ok() {
            link.send(&read);
            link.send(b"bye");
        }
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "first");
    client.send(&publish(b"last"));
    client.finish();
    let (rest, ended) = client.rest();
    assert_eq!((rest, ended), ([&publish(b"last")[..], b"bye"].concat(), Ok(())));
    assert_eq!(end(&proxy.wait_end("first")), "client/relay/closed");
}

/// And a client a broker that has.
#[test]
fn a_broker_that_finishes_first() {
    let (told, heard) = channel();
    let broker = Broker::start(move |mut link| {
        link.accept();
        link.send(b"\xE0\x00");
        link.stream.shutdown(Shutdown::Write).unwrap();
        let mut read = Vec::new();
        let ended = link.stream.read_to_end(&mut read).map(drop);
        let _ = told.send((read, ended.is_ok()));
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "second");
    assert_eq!(client.rest(), (b"\xE0\x00".to_vec(), Ok(())));
    client.send(&publish(b"still here"));
    client.finish();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (publish(b"still here"), true));
    assert_eq!(end(&proxy.wait_end("second")), "upstream/relay/closed");
}

#[test]
fn the_half_close_deadline() {
    let silent = Broker::start(|mut link| {
        link.accept();
        // Reads to the end of the client's side, and keeps its own open until the proxy ends it.
        let _ = io::copy(&mut link.stream, &mut io::sink());
        wait_for("the proxy to hang up", || link.stream.write_all(b"\xD0\x00").err());
    });
    let closing = Broker::start(|mut link| {
        link.accept();
        link.stream.shutdown(Shutdown::Write).unwrap();
        let _ = io::copy(&mut link.stream, &mut io::sink());
    });
    let config = |broker| Config::of([broker]).more("timeouts: { half_close: 1s }");
    let (by_client, by_broker) = (config(&silent).start(), config(&closing).start());
    let client = Client::session(by_client.address(), "finished");
    client.finish();
    let mut other = Client::session(by_broker.address(), "left");
    other.expect_end();
    assert_eq!(end(&by_client.wait_end("finished")), "proxy/relay/timeout");
    assert_eq!(end(&by_broker.wait_end("left")), "proxy/relay/timeout");
    // The session is gone, though neither side of it has closed.
    wait_for("the connection to be gone", || other.stream.write_all(b"\xC0\x00").err());
}

#[test]
fn a_clients_reset_reaches_the_broker() {
    let (told, heard) = channel();
    let broker = Broker::start(move |mut link| {
        link.accept();
        let mut read = Vec::new();
        let _ = told.send(link.stream.read_to_end(&mut read).map_err(|error| error.kind()));
    });
    let proxy = Config::of([&broker]).start();
    Client::session(proxy.address(), "rude").reset();
    let ended = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ended, Err(io::ErrorKind::ConnectionReset));
    assert_eq!(end(&proxy.wait_end("rude")), "client/relay/reset");
}

/// Also a broker that has stopped reading, and will not be told by a write.
#[test]
fn a_clients_reset_behind_backpressure() {
    let (told, heard) = channel();
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let broker = Broker::start(move |mut link| {
        link.accept();
        wait.lock().unwrap().recv().unwrap();
        let ended = io::copy(&mut link.stream, &mut io::sink()).map_err(|error| error.kind());
        let _ = told.send(ended);
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "full");
    client.stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let block = vec![0x30; 1 << 20];
    // 100 MiB are more than all buffers on the way hold.
    assert!((0..100).any(|_| client.stream.write_all(&block).is_err()));
    client.reset();
    go.send(()).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Err(io::ErrorKind::ConnectionReset));
    assert_eq!(end(&proxy.wait_end("full")), "client/relay/reset");
}

#[test]
fn a_brokers_reset_reaches_the_client() {
    let broker = Broker::start(|mut link| {
        link.accept();
        let _ = link.read_packet();
        link.reset();
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "struck");
    client.send(b"\xC0\x00");
    assert_eq!(client.rest(), (vec![], Err(io::ErrorKind::ConnectionReset)));
    assert_eq!(end(&proxy.wait_end("struck")), "upstream/relay/reset");
}

/// 1.5 times the keep alive and the grace of 5 s; a Server Keep Alive counts instead, a duration
/// instead of both.
#[test]
fn idle_sessions() {
    let with_server_keep_alive = Broker::start(|mut link| {
        if link.read_packet().is_some() {
            link.send(b"\x20\x06\x00\x00\x03\x13\x00\x01");
            let _ = io::copy(&mut link.stream, &mut io::sink());
        }
    });
    let without = Broker::echoing();
    // A broker's bytes are no sign of life of the client.
    let talking = Broker::start(|mut link| {
        link.accept();
        while link.stream.write_all(b"\xD0\x00").is_ok() {
            thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let server = Config::of([&with_server_keep_alive]).start();
    let kept = Config::of([&without]).start();
    let talk = Config::of([&talking]).start();
    let fixed = Config::of([&without]).more("timeouts: { idle: 2s }").start();
    let never = Config::of([&without]).more("timeouts: { idle: none }").start();
    thread::scope(|scope| {
        scope.spawn(|| {
            let connect = Connect::new(5, "server").keep_alive(600).bytes();
            let answer = b"\x20\x06\x00\x00\x03\x13\x00\x01";
            let mut client = Client::exchange(server.address(), &connect, answer);
            // A client of 5.0 is told: Keep Alive timeout.
            client.expect(b"\xE0\x01\x8D");
            client.expect_end();
        });
        scope.spawn(|| {
            let connect = Connect::new(4, "talk").keep_alive(1).bytes();
            let mut client = Client::exchange(talk.address(), &connect, CONNACK_V3);
            let _ = io::copy(&mut client.stream, &mut io::sink());
        });
        scope.spawn(|| {
            let connect = Connect::new(4, "fixed").keep_alive(0).bytes();
            Client::exchange(fixed.address(), &connect, CONNACK_V3).expect_end();
        });
        // These two must still be there when the others are gone.
        let connect = Connect::new(4, "never").keep_alive(1).bytes();
        let mut never_ends = Client::exchange(never.address(), &connect, CONNACK_V3);
        let connect = Connect::new(5, "zero").keep_alive(0).bytes();
        let mut zero = Client::exchange(kept.address(), &connect, CONNACK_V5);
        let connect = Connect::new(5, "pinging").keep_alive(1).bytes();
        let mut pinging = Client::exchange(kept.address(), &connect, CONNACK_V5);
        let connect = Connect::new(5, "quiet").keep_alive(1).bytes();
        let _quiet = Client::exchange(kept.address(), &connect, CONNACK_V5);
        wait_for("the quiet one's end", || {
            pinging.echo(b"\xC0\x00");
            thread::sleep(std::time::Duration::from_millis(100));
            kept.log().into_iter().find(|line| line["event"] == "disconnect")
        });
        zero.echo(b"\xC0\x00");
        never_ends.echo(b"\xC0\x00");
    });
    for (proxy, id, least, most) in [
        (&server, "server", 6500.0, 20_000.0),
        (&kept, "quiet", 6500.0, 20_000.0),
        (&talk, "talk", 6500.0, 20_000.0),
        (&fixed, "fixed", 2000.0, 10_000.0),
    ] {
        let line = proxy.wait_end(id);
        assert_eq!(end(&line), "proxy/relay/idle", "{id}");
        let lasted = line["duration_ms"].as_f64().unwrap();
        assert!(lasted > least && lasted < most, "{id} lasted {lasted} ms");
    }
}

/// What was on its way when a broker closed still arrives.
#[test]
fn last_words_in_bulk() {
    const WORDS: usize = 3 << 20;
    let broker = Broker::start(|mut link| {
        link.accept();
        link.send(&vec![0x55; WORDS]);
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::exchange(proxy.address(), &connect(4, "words"), CONNACK_V3);
    let (rest, ended) = client.rest();
    assert_eq!((rest.len(), ended), (WORDS, Ok(())));
    assert!(rest.iter().all(|&byte| byte == 0x55));
}
