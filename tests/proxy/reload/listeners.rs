//! Listeners that come, go and lead elsewhere.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt, net::UnixStream},
    process::Command,
};

use super::{ping_all, says, sessions, take};
use crate::{
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
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

fn count(proxy: &Proxy, family: &str, listener: &str) -> u64 {
    let of = format!("listener=\"{listener}\"");
    proxy.metric(&format!("mqtt_lb_{family}"), &[&of]) as u64
}

fn is_exposed(proxy: &Proxy, listener: &str) -> bool {
    proxy.get("/metrics").contains(&format!("listener=\"{listener}\""))
}

/// Its samples are there, and true, up to the end of the last who came in there; then they are
/// gone. They go on when it comes back, under sessions or without any.
#[test]
fn a_closed_listener_is_counted_until_its_last_session_ends() {
    let [broker] = brokers();
    let without = Config::of([&broker]).workers(2);
    let with = without.clone().another_listener("name: second");
    let proxy = with.start();
    let mut there: Vec<_> = (0..3)
        .map(|n| Client::session(proxy.address_of("second"), &format!("there-{n}")))
        .collect();
    take(&proxy, &without);
    for left in (1..=3).rev() {
        assert_eq!(count(&proxy, "connections_active", "second"), left);
        assert_eq!(count(&proxy, "connections_total", "second"), 3);
        there.pop();
        proxy.wait_end(&format!("there-{}", left - 1));
        wait_for("the gauge", || {
            let now = proxy.get("/metrics");
            let active = format!("connections_active{{listener=\"second\"}} {left}\n");
            (!now.contains(&active)).then_some(())
        });
    }
    // Nothing is waited for here but the thread that ends the session.
    wait_for("its metrics to be gone", || (!is_exposed(&proxy, "second")).then_some(()));

    let back = address_in(&take(&proxy, &with), "second");
    assert_eq!(count(&proxy, "connections_total", "second"), 3);
    assert_eq!(count(&proxy, "connections_active", "second"), 0);
    let mut held = Client::session(back, "held");
    take(&proxy, &without);
    let again = address_in(&take(&proxy, &with), "second");
    let _second = Client::session(again, "next");
    held.echo(b"\xC0\x00");
    assert_eq!(count(&proxy, "connections_active", "second"), 2);
    assert_eq!(count(&proxy, "connections_total", "second"), 5);
    assert_eq!(count(&proxy, "handshake_seconds_count", "second"), 5);
    drop(held);
    proxy.wait_metric("mqtt_lb_connections_active", &["listener=\"second\""], 1.0);
    assert_eq!(count(&proxy, "sessions_total", "second"), 5);
}

/// A listener is known by its name, wherever it listens.
#[test]
fn a_listener_that_moves_keeps_its_counters() {
    let [broker] = brokers();
    let config = Config::of([&broker]).workers(2);
    let proxy = config.start();
    let mut there = Client::session(proxy.address(), "there");
    let said = take(&proxy, &config.clone().bind("127.0.0.2:0"));
    says(&said, "listener mqtt: moved to 127.0.0.2:0");
    let moved = address_in(&said, "mqtt");
    assert_eq!(moved.ip().to_string(), "127.0.0.2");
    let _moved = Client::session(moved, "moved");
    there.echo(b"\xC0\x00");
    assert_eq!(count(&proxy, "connections_active", "mqtt"), 2);
    assert_eq!(count(&proxy, "connections_total", "mqtt"), 2);
    wait_for("the first to be closed", || TcpStream::connect(proxy.address()).err());
}

/// The socket is what listens: under another name, and to another pool, it is the same one. Who
/// came in before is recorded as it was then.
#[test]
fn a_listener_that_is_renamed_keeps_its_socket() {
    let [broker] = brokers();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.sock");
    let config = Config::of([&broker]).another_listener("name: tcp");
    let text = |name: &str| {
        let bind = format!("{{ name: {name}, bind: \"unix:{}\"", file.display());
        config.text().replace("{ name: mqtt, bind: \"127.0.0.1:0\"", &bind)
    };
    let proxy = Proxy::start(&text("before"));
    let session = |id: &str| {
        let mut client = UnixStream::connect(&file).unwrap();
        client.write_all(&connect(4, id)).unwrap();
        let mut connack = [0; 4];
        client.read_exact(&mut connack).unwrap();
        assert_eq!(connack, CONNACK_V3);
        client
    };
    let inode = || std::fs::metadata(&file).unwrap().ino();
    let (before, first) = (inode(), session("first"));
    let said = super::reload(&proxy, &text("after"));
    assert!(!said.iter().any(|line| line.contains("listening")), "{said:#?}");
    assert_eq!(inode(), before);
    drop(session("second"));
    assert_eq!(proxy.wait_end("second")["listener"], "after");
    assert_eq!(count(&proxy, "connections_total", "after"), 1);
    assert_eq!(count(&proxy, "connections_active", "before"), 1);
    drop(first);
    let ended = proxy.wait_end("first");
    assert_eq!((&ended["listener"], end(&ended)), (&"before".into(), "client/relay/closed".into()));
    wait_for("its metrics to be gone", || (!is_exposed(&proxy, "before")).then_some(()));
}

/// `workers: auto` is what it came to at the start: a proxy that is moved to fewer processors goes
/// on with its workers, and reloads.
#[test]
fn processors_that_are_taken_away_keep_no_reload_from_being_applied() {
    let [broker] = brokers();
    let config = Config::of([&broker]);
    let text = |config: &Config| config.text().replace("workers: 1", "workers: auto");
    let proxy = Proxy::start(&text(&config));
    let status = || proxy.get("/api/v1/status");
    let workers = std::thread::available_parallelism().unwrap();
    assert!(status().contains(&format!("\"workers\":{workers},")), "{}", status());
    let allowed = std::fs::read_to_string(proxy.proc("status")).unwrap();
    let list = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first: String = list.trim().chars().take_while(char::is_ascii_digit).collect();
    let moved = Command::new("taskset").args(["-acp", &first, &proxy.id().to_string()]).output();
    assert!(moved.expect("install Debian's package util-linux").status.success());

    let more = config.clone().another_listener("name: second");
    let said = super::reload(&proxy, &text(&more));
    says(&said, "reloaded; sessions are kept");
    for n in 0..10 {
        Client::session(address_in(&said, "second"), &format!("second-{n}"));
    }
    proxy.wait_ends(10);
    assert!(status().contains(&format!("\"workers\":{workers},")), "{}", status());
    let said = super::reload(&proxy, &more.text().replace("workers: 1", "workers: 77"));
    says(&said, "runtime.workers cannot change without a restart: from auto to 77");
}
