//! Signals.

use std::{
    fs, io,
    net::{TcpStream, UdpSocket},
    thread,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};

use crate::{
    broker::Broker,
    client::{Client, connect},
    config::Config,
    harness::{PATIENCE, Proxy, end, is_end, json_lines, program, wait_for},
};

#[test]
fn sigterm_waits_for_sessions() {
    for workers in [1, 2] {
        let broker = Broker::echoing();
        let mut proxy = Config::of([&broker]).workers(workers).start();
        let mut client = Client::session(proxy.address(), "stays");
        assert!(proxy.get("/readyz").starts_with("HTTP/1.1 200"));
        proxy.signal(Signal::TERM);
        proxy.wait_stderr("stopped accepting");
        wait_for("connections to be refused", || {
            let refused = TcpStream::connect(proxy.address()).err()?;
            (refused.kind() == io::ErrorKind::ConnectionRefused).then_some(())
        });
        let ready = proxy.get("/readyz");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("draining"), "{ready}");
        client.echo(&[0x30; 10_000]);
        assert!(proxy.is_running());
        drop(client);
        assert_eq!(proxy.wait_exit().code(), Some(0));
        let mut ends: Vec<_> = proxy.log().into_iter().filter(is_end).collect();
        // Connections of above that came before the listener was closed have theirs too.
        ends.retain(|line| line["client_id"] == "stays");
        assert_eq!(ends.len(), 1);
        assert_eq!(end(&ends[0]), "client/relay/closed");
    }
}

#[test]
fn sigterm_with_no_session_ends_at_once() {
    let broker = Broker::echoing();
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Config::of([&broker]).start();
        proxy.signal(signal);
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }
}

/// Before anybody is served there is nothing to wait for.
#[test]
fn sigterm_while_names_are_looked_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let servers = format!("dns: {{ servers: [\"{}\"] }}", silent.local_addr().unwrap());
    let config = Config::at(["broker.internal:1883"]).bind("unix:mqtt.sock").more(&servers);
    let mut proxy = Proxy::spawn(tempfile::tempdir().unwrap(), &config.text(), |_| program());
    silent.recv(&mut [0; 512]).unwrap();
    assert!(proxy.path("mqtt.sock").exists());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(!proxy.path("mqtt.sock").exists());
    assert!(!proxy.stderr().iter().any(|line| line.contains(" listening ")));
}

/// Sessions, and connections that never became one: each still gets its line.
#[test]
fn the_end_of_the_drain() {
    let broker = Broker::echoing();
    let silent = Broker::silent();
    let config = Config::of([&broker, &silent]).more("drain: { timeout: 300ms }").workers(2);
    let mut proxy = config.start();
    let mut waiting = Client::open(proxy.address());
    waiting.send(b"\x10\x20\x00\x04MQ");
    let mut clients: Vec<_> = (0..20)
        .map(|n| {
            let mut client = Client::open(proxy.address());
            client.send(&connect(4, &format!("c{n}")));
            client
        })
        .collect();
    wait_for("all to be passed on", || {
        (broker.connections() + silent.connections() == 20).then_some(())
    });
    wait_for("the answers", || {
        let connected = proxy.log().iter().filter(|line| line["event"] == "connect").count();
        (connected == broker.connections()).then_some(())
    });
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    for client in &mut clients {
        client.rest().1.unwrap_or_else(|kind| assert_eq!(kind, io::ErrorKind::ConnectionReset));
    }
    let ends: Vec<_> = proxy.log().into_iter().filter(is_end).collect();
    for line in &ends {
        let phase = match line["event"].as_str() {
            Some("disconnect") => "relay",
            _ if line["client_id"].is_null() => "connect",
            _ => "connack",
        };
        assert_eq!(end(line), format!("proxy/{phase}/drain"));
    }
    let relayed = ends.iter().filter(|line| line["event"] == "disconnect").count();
    assert_eq!(relayed, broker.connections());
    assert_eq!(ends.len(), 21);
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 10m }").workers(2).start();
    let mut clients: Vec<_> =
        (0..5).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");
    clients[0].echo(b"\xC0\x00");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let ends: Vec<_> = proxy.log().into_iter().filter(is_end).collect();
    assert_eq!(ends.len(), 5);
    assert!(ends.iter().all(|line| end(line) == "proxy/relay/drain"));
}

/// A log that cannot be written does not keep the proxy from ending.
#[test]
fn sigterm_behind_a_log_that_nobody_reads() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.log");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let mut config = Config::of([&broker]);
    config.access_log = "{ path: fifo.log, format: json }".to_owned();
    let mut proxy = Proxy::start_in(dir, &config.text(), |_| program());
    // A pipe holds 64 KiB.
    let name = "n".repeat(4000);
    for _ in 0..16 {
        Client::session(proxy.address(), &name);
    }
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.wait_stderr("access log");
}

#[test]
fn signals_of_later_versions_do_no_harm() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "there");
    proxy.signal(Signal::USR2);
    proxy.wait_stderr("SIGUSR2");
    client.echo(b"\xC0\x00");
    Client::session(proxy.address(), "new").echo(b"\xC0\x00");
}

/// Rotation under load: every line is whole, and in one of the files.
#[test]
fn sigusr1_reopens_the_log() {
    const CLIENTS: usize = 600;
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let log = proxy.path("access.log");
    let rotated = |n: usize| proxy.path(&format!("access.log.{n}"));
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for n in 0..CLIENTS {
                Client::session(proxy.address(), &format!("c{n}"));
            }
        });
        for n in 0..3 {
            wait_for("lines to rotate", || (!json_lines(&log).is_empty()).then_some(()));
            fs::rename(&log, rotated(n)).unwrap();
            proxy.signal(Signal::USR1);
            wait_for("the new file", || log.exists().then_some(()));
        }
        churn.join().unwrap();
    });
    let files: Vec<_> = (0..3).map(rotated).chain([log]).collect();
    let lines = || files.iter().flat_map(|file| json_lines(file)).collect::<Vec<_>>();
    wait_for("every line", || (lines().len() >= 2 * CLIENTS).then_some(()));
    let lines = lines();
    assert_eq!(lines.len(), 2 * CLIENTS);
    assert_eq!(lines.iter().filter(|line| is_end(line)).count(), CLIENTS);
    assert!(files.iter().all(|file| !json_lines(file).is_empty()));
}
