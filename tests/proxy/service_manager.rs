//! What systemd is told, as its own library would tell it: datagrams on NOTIFY_SOCKET.

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixDatagram},
};

use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    harness::{PATIENCE, Proxy, program},
    pki::{Ca, Leaf},
};

const READY: &str = "READY=1\nSTATUS=Serving\n";

pub(crate) struct Manager(UnixDatagram);

impl Manager {
    pub(crate) fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn hear(&self) -> String {
        let mut message = vec![0; 4096];
        let n = self.0.recv(&mut message).unwrap();
        String::from_utf8(message[..n].to_vec()).unwrap()
    }
}

/// Microseconds of the clock that systemd compares with.
fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[test]
fn start_reload_drain_end() {
    let broker = Broker::echoing();
    let text = Config::of([&broker]).more("drain: { timeout: 100s }").text();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut proxy = Proxy::start_in(dir, &text, |_| {
        let mut command = program();
        command.env("NOTIFY_SOCKET", &path);
        command
    });
    assert_eq!(manager.hear(), READY);

    // Right or wrong: systemd's reload ends with READY=1.
    let refused = "READY=1\nSTATUS=Serving; the last reload was refused, see the log\n";
    for (config, outcome) in [(&*text, READY), ("listeners: [oops]", refused), (&text, READY)] {
        std::fs::write(proxy.config_file(), config).unwrap();
        let asked = monotonic();
        proxy.signal(Signal::HUP);
        let reloading = manager.hear();
        let micros = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.strip_suffix("\nSTATUS=Reloading\n"))
            .expect(&reloading);
        assert!((asked..monotonic()).contains(&micros.parse::<i64>().unwrap()), "{reloading}");
        assert_eq!(manager.hear(), outcome);
    }

    let clients = ["one", "two"].map(|id| Client::session(proxy.address(), id));
    proxy.signal(Signal::TERM);
    // The drain, and what comes after it: systemd kills nobody before that.
    assert_eq!(manager.hear(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=120000000\nSTATUS=Draining\n");
    assert_eq!(manager.hear(), "STATUS=Draining, connections left: 2\n");
    drop(clients);
    assert_eq!(proxy.wait_exit().code(), Some(0));
}

/// Half of a pair is refused until the other half is there.
#[test]
fn changed_files_that_are_refused() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [old, new] = ["old", "new"].map(|name| ca.issue(&Leaf::new(name, &["eu.example.com"])));
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("cert.pem", &old.cert), ("key.pem", &old.key)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let text = Config::of([&broker])
        .listener("tls: { certificates: [{ cert: cert.pem, key: key.pem }] }")
        .more("watch_interval: 100ms")
        .text();
    let proxy = Proxy::start_in(dir, &text, |_| {
        let mut command = program();
        command.env("NOTIFY_SOCKET", &path);
        command
    });
    assert_eq!(manager.hear(), READY);
    std::fs::write(proxy.path("cert.pem"), &new.cert).unwrap();
    let refused = "STATUS=Serving; changed files were refused, see the log\n";
    assert_eq!(manager.hear(), refused);
    // A reload reads the same files.
    proxy.signal(Signal::HUP);
    assert!(manager.hear().starts_with("RELOADING=1\n"));
    let both =
        "READY=1\nSTATUS=Serving; the last reload and changed files were refused, see the log\n";
    assert_eq!(manager.hear(), both);
    std::fs::write(proxy.path("key.pem"), &new.key).unwrap();
    let not_reloaded = "STATUS=Serving; the last reload was refused, see the log\n";
    assert_eq!(manager.hear(), not_reloaded);
    proxy.signal(Signal::HUP);
    assert!(manager.hear().starts_with("RELOADING=1\n"));
    assert_eq!(manager.hear(), READY);
}

/// Names that begin with @ are in the abstract namespace: container managers have such.
#[test]
fn an_abstract_socket() {
    let broker = Broker::echoing();
    let name = format!("mqtt-lb-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let text = Config::of([&broker]).text();
    let _proxy = Proxy::start_in(tempfile::tempdir().unwrap(), &text, |_| {
        let mut command = program();
        command.env("NOTIFY_SOCKET", format!("@{name}"));
        command
    });
    assert_eq!(manager.hear(), READY);
}

/// One that has stopped reading: its socket takes no more, and only the messages wait.
#[test]
fn a_service_manager_that_does_not_read_holds_nothing_up() {
    let broker = Broker::echoing();
    let text = Config::of([&broker]).more("drain: { timeout: 200ms }").text();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    while others.send_to(b"STATUS=mine", &path).is_ok() {}
    let mut proxy = Proxy::start_in(dir, &text, |_| {
        let mut command = program();
        command.env("NOTIFY_SOCKET", &path);
        command
    });
    let mut there = Client::session(proxy.address(), "served");
    // Two messages each, so that those that wait for a second each are soon more than the queue has
    // room for.
    for n in 1..=12 {
        proxy.signal(Signal::HUP);
        proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""], n.into());
        there.echo(b"\xC0\x00");
    }
    proxy.wait_stderr("cannot notify the service manager");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    drop(manager);
}

#[test]
fn a_service_manager_that_is_gone_keeps_nobody_from_serving() {
    let broker = Broker::echoing();
    let text = Config::of([&broker]).text();
    let proxy = Proxy::start_in(tempfile::tempdir().unwrap(), &text, |_| {
        let mut command = program();
        command.env("NOTIFY_SOCKET", "/nowhere/notify");
        command
    });
    Client::session(proxy.address(), "served").echo(b"\xC0\x00");
    proxy.wait_stderr("cannot notify the service manager");
}
