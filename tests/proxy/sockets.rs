//! What can be listened on and dialled.

use std::{
    fs, io,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    broker::{Broker, echo},
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{PATIENCE, Proxy, end, program, wait_for},
};

/// Connects over a unix socket, echoes once, and leaves.
fn visit(path: &Path, id: &str) {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for (sent, wanted) in [(&connect(4, id)[..], CONNACK_V3), (b"\xC0\x00", b"\xC0\x00")] {
        client.write_all(sent).unwrap();
        let mut read = vec![0; wanted.len()];
        client.read_exact(&mut read).unwrap();
        assert_eq!(read, wanted);
    }
}

#[test]
fn unix_listener() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).bind("unix:mqtt.sock").workers(2);
    let limited = config.more("limits: { max_connections_per_ip: 1 }");
    let mut proxy = limited.start();
    let path = proxy.path("mqtt.sock");
    // No address, so no limit by address.
    let held = UnixStream::connect(&path).unwrap();
    visit(&path, "local");
    let line = proxy.wait_end("local");
    assert_eq!(line["transport"], "unix");
    assert_eq!(line["client"], serde_json::Value::Null);
    assert_eq!(end(&line), "client/relay/closed");
    assert_eq!(line["bytes_in"], connect(4, "local").len() + 2);
    drop(held);
    proxy.wait_ends(2);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let text = Config::of([&broker]).bind("unix:mqtt.sock").text();
    let proxy = Proxy::start_in(dir, &text, |_| program());
    visit(&path, "after");
    proxy.wait_end("after");
}

/// What somebody listens on, or what is no socket at all, is nobody's to remove.
#[test]
fn other_files_in_the_place_of_a_socket() {
    let broker = Broker::echoing();
    let text = Config::of([&broker]).bind("unix:mqtt.sock").text();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    fs::write(&path, "precious").unwrap();
    let mut proxy = Proxy::spawn(dir, &text, |_| program());
    assert_eq!(proxy.wait_exit().code(), Some(1));
    proxy.wait_stderr("listener mqtt: cannot listen on unix:");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut proxy = Proxy::spawn(dir, &text, |_| program());
    assert_eq!(proxy.wait_exit().code(), Some(1));
    proxy.wait_stderr("listener mqtt: cannot listen on unix:");
    assert!(path.exists());
    drop(listener);
}

/// Somebody listens at `path`, accepts nobody, and has as many who wait as there is room for.
fn full_backlog(path: &Path) -> impl Sized {
    let at = SockAddr::unix(path).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&at).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        match client.connect(&at) {
            Ok(()) => waiting.push(client),
            Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    (listener, waiting)
}

/// To find out whether a socket is stale, nobody waits for room in its backlog.
#[test]
fn a_reload_meets_a_socket_whose_backlog_is_full() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("drain: { timeout: 200ms }");
    let mut proxy = config.start();
    let mut there = Client::session(proxy.address(), "there");
    let path = proxy.path("second.sock");
    let somebody = full_backlog(&path);
    let second = config.clone().another_listener("name: second").text().replace(
        "bind: \"127.0.0.1:0\", pool: brokers, name: second",
        "bind: \"unix:second.sock\", pool: brokers, name: second",
    );
    fs::write(proxy.config_file(), second).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"refused\""], 1.0);
    proxy.wait_stderr("listener second: cannot listen on unix:");
    let lines = proxy.stderr();
    let said = lines.iter().find(|line| line.contains("listener second:")).unwrap();
    assert!(
        said.contains("already in use") && said.contains("stop the process that listens there"),
        "{said}"
    );
    assert!(path.exists());
    there.echo(b"\xC0\x00");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    drop(somebody);
}

#[test]
fn the_admin_listener_meets_a_socket_whose_backlog_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let _somebody = full_backlog(&path);
    let mut config = Config::at(["127.0.0.1:1"]);
    config.admin = "unix:admin.sock".to_owned();
    let mut proxy = Proxy::spawn(dir, &config.text(), |_| program());
    assert_eq!(proxy.wait_exit().code(), Some(1));
    proxy.wait_stderr("admin: cannot listen on unix:");
    proxy.wait_stderr("already in use");
    assert!(path.exists());
}

#[test]
fn unix_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = vec![0; connect(4, "to-unix").len()];
        stream.read_exact(&mut read).unwrap();
        assert_eq!(read, connect(4, "to-unix"));
        stream.write_all(CONNACK_V3).unwrap();
        let mut reading = stream.try_clone().unwrap();
        let _ = io::copy(&mut reading, &mut stream);
    });
    let proxy = Config::at([format!("unix:{}", path.display())]).start();
    let mut client = Client::session(proxy.address(), "to-unix");
    client.echo(&vec![0x30; 300_000]);
    drop(client);
    let line = proxy.wait_end("to-unix");
    assert_eq!(line["upstream_address"], format!("unix:{}", path.display()));
    assert_eq!(end(&line), "client/relay/closed");

    fs::remove_file(&path).unwrap();
    Client::exchange(proxy.address(), &connect(4, "gone"), b"\x20\x02\x00\x03").expect_end();
    assert_eq!(end(&proxy.wait_end("gone")), "proxy/dial/no_upstream");
}

#[test]
fn ipv6_both_ways() {
    let broker = Broker::start_on(TcpListener::bind("[::1]:0").unwrap(), echo);
    let proxy = Config::of([&broker]).bind("[::1]:0").workers(2).start();
    assert!(proxy.address().is_ipv6());
    let mut client = Client::session(proxy.address(), "six");
    client.echo(b"\xC0\x00");
    let line = proxy.wait_connected("six");
    assert_eq!(line["client"], client.stream.local_addr().unwrap().to_string());
    assert_eq!(line["upstream_address"], broker.address.to_string());
}

#[test]
fn an_upstream_by_its_host_name() {
    let broker = Broker::echoing();
    // The name may stand for either address; where only one broker can listen, that has to do.
    let port = broker.address.port();
    let _other = TcpListener::bind(("::1", port)).map(|listener| Broker::start_on(listener, echo));
    let proxy = Config::at([format!("localhost:{port}")]).start();
    Client::session(proxy.address(), "named").echo(b"\xC0\x00");
    let line = proxy.wait_connected("named");
    assert_eq!(line["upstream"], "b1");
    let address: std::net::SocketAddr = line["upstream_address"].as_str().unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());

    let lost = Config::at(["no-such-host.invalid:1883"]).start();
    lost.wait_stderr("cannot resolve");
    Client::exchange(lost.address(), &connect(4, "lost"), b"\x20\x02\x00\x03").expect_end();
    let line = lost.wait_end("lost");
    assert_eq!(end(&line), "proxy/dial/no_upstream");
    assert_eq!(line["detail"], "every broker is down, ejected, draining or not resolved yet");
}

#[test]
fn an_address_that_is_taken() {
    let broker = Broker::echoing();
    for workers in [1, 2] {
        let first = Config::of([&broker]).workers(workers).start();
        let address = first.address().to_string();
        let said = format!("listener mqtt: cannot listen on {address}");
        Config::of([&broker]).bind(&*address).workers(workers).fail_to_start(&said);
        let mut second = Config::of([&broker]);
        second.admin = first.admin().to_string();
        second.fail_to_start(&second.admin);
        Client::session(first.address(), "first").echo(b"\xC0\x00");
    }
}

/// The timers of the established sockets that one end of is this port, as proc(5) shows them.
fn timers(port: u16) -> Vec<(String, u64)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_port = |address: &str| address.ends_with(&format!(":{port:04X}"));
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == "01" && (is_port(fields[1]) || is_port(fields[2])))
        .map(|fields| {
            let (timer, when) = fields[5].split_once(':').unwrap();
            (timer.to_owned(), u64::from_str_radix(when, 16).unwrap())
        })
        .collect()
}

/// How many of this port's sockets, which are `ends`, are probed when they are silent for 1,000 s.
pub(crate) fn keep_alive_timers(port: u16, ends: usize) -> usize {
    let timers = timers(port);
    assert_eq!(timers.len(), ends);
    // Timer 2 is the keep-alive one; times are in hundredths of a second.
    let is_it = |(timer, when): &&(String, u64)| timer == "02" && *when > 90_000;
    timers.iter().filter(is_it).count()
}

/// TCP watches over both of a session's connections, from the proxy's side.
#[test]
fn tcp_keep_alive() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("timeouts: { tcp_keepalive: 1000s }").start();
    let _client = Client::session(proxy.address(), "watched");
    for port in [proxy.address().port(), broker.address.port()] {
        // Both ends of one connection.
        wait_for("a keep-alive timer", || (keep_alive_timers(port, 2) == 1).then_some(()));
    }
}
