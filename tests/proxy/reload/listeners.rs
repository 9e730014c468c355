//! Listeners that come, go and lead elsewhere.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
};

use super::{ping_all, says, sessions, take};
use crate::{
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, wait_for},
    routing::{brokers, ids},
};

/// Where a listener that a reload has opened listens, as the log says it.
fn address_in(said: &[String], listener: &str) -> SocketAddr {
    let named = format!("listener={listener} ");
    let line = said.iter().find(|line| line.contains(" listening ") && line.contains(&named));
    let (_, address) = line.expect("it listens").split_once("address=").unwrap();
    address.trim().parse().unwrap()
}

#[test]
fn a_listener_is_added_and_the_first_one_removed_under_its_sessions() {
    let [broker] = brokers();
    let proxy = Config::of([&broker]).workers(2).start();
    let mut there = sessions(&proxy, &ids()[..20]);
    let two = Config::of([&broker]).workers(2).another_listener("name: second");
    let said = take(&proxy, &two);
    says(&said, "listener second: added");
    let second = address_in(&said, "second");
    for n in 0..20 {
        Client::session(second, &format!("second-{n}"));
    }
    Client::session(proxy.address(), "first-still");
    let only_second =
        two.text().replace("{ name: mqtt, bind: \"127.0.0.1:0\", pool: brokers }, ", "");
    let said = super::reload(&proxy, &only_second);
    says(&said, "listener mqtt: removed");
    says(&said, "no longer listening");
    ping_all(&mut there);
    wait_for("the first to be closed", || TcpStream::connect(proxy.address()).err());
    Client::session(second, "second-still");
    assert_eq!(proxy.wait_end("second-still")["listener"], "second");
    let of_first = ["listener=\"mqtt\""];
    assert_eq!(proxy.metric("mqtt_lb_connections_active", &of_first) as u64, 20);
    drop(there);
    // It may listen there again.
    let free = TcpListener::bind(proxy.address()).unwrap();
    drop(free);
    let back = two.text().replace(
        "127.0.0.1:0\", pool: brokers }, ",
        &format!("{}\", pool: brokers }}, ", proxy.address()),
    );
    says(&super::reload(&proxy, &back), "listener mqtt: added");
    Client::session(proxy.address(), "back");
}

#[test]
fn a_unix_socket_comes_and_goes_with_its_file() {
    let [broker] = brokers();
    let proxy = Config::of([&broker]).start();
    let file = proxy.path("mqtt.sock");
    let unix = format!("unix:{}", file.display());
    take(&proxy, &Config::of([&broker]).bind(unix));
    let mut client = UnixStream::connect(&file).unwrap();
    client.write_all(&connect(4, "local")).unwrap();
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    assert_eq!(connack, CONNACK_V3);
    take(&proxy, &Config::of([&broker]));
    assert!(!file.exists());
    client.write_all(b"\xC0\x00").unwrap();
    client.read_exact(&mut connack[..2]).unwrap();
    assert_eq!(connack[..2], *b"\xC0\x00");
}

/// Connections that the kernel has accepted, and nobody else yet, are not lost with the socket.
#[test]
fn clients_that_are_queued_at_a_listener_that_goes_are_served() {
    let [broker] = brokers();
    let mut config = Config::of([&broker]).another_listener("name: second");
    // With a log that nobody reads, clients are not accepted.
    config.access_log = "{ path: fifo, format: json }".to_owned();
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let fifo = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join("fifo"));
    let proxy = Proxy::start_in(dir, &config.text(), |_| crate::harness::program());
    let second = proxy.address_of("second");
    let mut queued: Vec<_> = Vec::new();
    // Until the log is full, and a client has waited in vain.
    let fill = format!("fill-{}", "x".repeat(400));
    wait_for("the log to be full", || {
        for _ in 0..200 {
            let mut client = Client::open(proxy.address());
            client.stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            client.send(&connect(4, &fill));
            let mut connack = [0; 4];
            if client.stream.read_exact(&mut connack).is_err() {
                return Some(());
            }
        }
        None
    });
    for n in 0..5 {
        let mut client = Client::open(second);
        client.send(&connect(4, &format!("queued-{n}")));
        queued.push(client);
    }
    config.other_listeners.clear();
    config.access_log = "{ path: access.log, format: json }".to_owned();
    says(&take(&proxy, &config), "listener second: removed");
    for client in &mut queued {
        client.expect(CONNACK_V3);
        client.echo(b"\xC0\x00");
    }
    drop(fifo);
}
