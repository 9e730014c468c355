//! Socket activation: what systemd listens on is handed over at descriptors 3, 4, ….

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    process::Command,
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    draining::those_queued_at,
    harness::{PATIENCE, Proxy, end, wait_for},
    reload::take,
    sockets::keep_alive_timers,
};

/// The program as systemd starts it, with sockets of these names.
pub(crate) fn activated(program: &str, sockets: Vec<(&str, OwnedFd)>) -> Command {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new("sh");
    // The PID is that of the shell, whose place the program takes.
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", program]);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let mappings = sockets.into_iter().zip(3..);
    let mapping = |((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd };
    command.fd_mappings(mappings.map(mapping).collect()).unwrap();
    command
}

fn start(dir: TempDir, config: &Config, sockets: Vec<(&str, OwnedFd)>) -> Proxy {
    Proxy::start_in(dir, &config.text(), |program| activated(program, sockets))
}

/// The copy that the test gives away; its own stays, as systemd's does.
pub(crate) fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

/// Whatever `bind` says, the socket of the listener's name is its own; all workers accept from it.
/// A client that comes while nobody runs is served by the next run.
#[test]
fn by_name_and_through_a_restart() {
    let broker = Broker::echoing();
    let keep_alive = "timeouts: { tcp_keepalive: 1000s }";
    let config = Config::of([&broker]).bind("127.0.0.1:1").workers(2).more(keep_alive);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir, &config, vec![("mqtt", copy(&socket))]);
    assert_eq!(first.address(), address);
    let mut clients: Vec<_> =
        (0..20).map(|n| Client::session(address, &format!("client-{n}"))).collect();
    for client in &mut clients {
        client.echo(b"\xC0\x00");
    }
    // Of both ends; a socket has another timer while what it sent is on its way.
    wait_for("keep-alive timers", || {
        (keep_alive_timers(address.port(), 2 * 20) == 20).then_some(())
    });
    drop(clients);
    first.wait_ends(20);
    first.signal(Signal::TERM);
    assert_eq!(first.wait_exit().code(), Some(0));

    let mut between = Client::open(address);
    between.send(&connect(4, "between"));
    let second = start(tempfile::tempdir().unwrap(), &config, vec![("mqtt", copy(&socket))]);
    between.expect(CONNACK_V3);
    between.echo(b"\xC0\x00");
    drop(between);
    assert_eq!(end(&second.wait_end("between")), "client/relay/closed");
}

/// Without the listener's name it is the address that counts. The file of a unix socket belongs to
/// who made it.
#[test]
fn by_address() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let mut config = Config::of([&broker]).bind(address.to_string());
    config.other_listeners.push("name: local".to_owned());
    let text = config.text().replace(
        "{ bind: \"127.0.0.1:0\", pool: brokers, name: local",
        "{ bind: \"unix:mqtt.sock\", pool: brokers, name: local",
    );
    let sockets = vec![("mqtt-lb.socket", copy(&tcp)), ("mqtt-lb.socket", unix.into())];
    let sockets = sockets.into_iter().rev().collect();
    let mut proxy = Proxy::start_in(dir, &text, |program| activated(program, sockets));
    Client::session(address, "by-tcp").echo(b"\xC0\x00");
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&connect(4, "by-unix")).unwrap();
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    assert_eq!(connack, CONNACK_V3);
    drop(client);
    assert_eq!(proxy.wait_end("by-unix")["listener"], "local");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(path.exists());
}

/// One queue for all workers, which is not theirs alone: those in it are served all the same.
#[test]
fn those_queued_at_it_are_served_first() {
    let broker = Broker::echoing();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config::of([&broker]).more("drain: { timeout: 60m }").workers(3);
    let dir = tempfile::tempdir().unwrap();
    let proxy = start(dir, &config, vec![("mqtt", copy(&socket))]);
    those_queued_at(socket.local_addr().unwrap(), proxy);
}

/// One reload removes the listener, another adds it: systemd's socket is its own again, and the
/// clients who came in between are served.
#[test]
fn a_listener_that_comes_back_has_its_socket_again() {
    let broker = Broker::echoing();
    let without = Config::of([&broker]).workers(2);
    let mut with = without.clone().another_listener("name: given");
    let (socket, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), tempfile::tempdir().unwrap());
    let address = socket.local_addr().unwrap();
    let path = unix.path().join("given.sock");
    let local = UnixListener::bind(&path).unwrap();
    with = with.another_listener("name: local");
    let sockets = vec![("given", copy(&socket)), ("local", local.try_clone().unwrap().into())];
    let proxy = start(tempfile::tempdir().unwrap(), &with, sockets);
    Client::session(address, "first").echo(b"\xC0\x00");
    let before = proxy.descriptors();
    for round in 0..3 {
        take(&proxy, &without);
        let mut between = Client::open(address);
        let id = format!("between-{round}");
        between.send(&connect(4, &id));
        take(&proxy, &with);
        between.expect(CONNACK_V3);
        between.echo(b"\xC0\x00");
        drop(between);
        assert_eq!(proxy.wait_end(&id)["listener"], "given");
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&connect(4, "by-unix")).unwrap();
        let mut connack = [0; 4];
        client.read_exact(&mut connack).unwrap();
        assert_eq!(connack, CONNACK_V3);
    }
    wait_for("descriptors to be back", || (proxy.descriptors() <= before).then_some(()));
    let total = proxy.metric("mqtt_lb_connections_total", &["listener=\"given\""]);
    assert_eq!(total as u64, 4);
}

/// systemd's `ListenStream=1883` is a socket of [::] that takes IPv4 as well.
#[test]
fn a_socket_for_both_families() {
    let broker = Broker::echoing();
    let socket = TcpListener::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let config = Config::of([&broker]).bind(format!("0.0.0.0:{port}"));
    let dir = tempfile::tempdir().unwrap();
    let proxy = start(dir, &config, vec![("mqtt-lb.socket", socket.into())]);
    let mut client = Client::session(([127, 0, 0, 1], port).into(), "four");
    client.echo(b"\xC0\x00");
    let own = client.stream.local_addr().unwrap().to_string();
    assert_eq!(proxy.wait_connected("four")["client"], own);
}

#[test]
fn what_no_listener_takes() {
    let broker = Broker::echoing();
    let (stray, datagrams) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = stray.local_addr().unwrap();
    let sockets = vec![("old", stray.into()), ("coap", datagrams.into())];
    let proxy = start(tempfile::tempdir().unwrap(), &Config::of([&broker]), sockets);
    Client::session(proxy.address(), "own").echo(b"\xC0\x00");
    proxy.wait_stderr(&format!("name=\"old\" address={address}"));
    proxy.wait_stderr("name=\"coap\" error=");
    // Nobody else has it, so it is closed for good.
    assert!(TcpStream::connect(address).is_err());
}

/// What Accept=yes hands over is a connection.
#[test]
fn a_connection_in_the_place_of_a_listener() {
    let broker = Broker::echoing();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let text = Config::of([&broker]).text();
    let sockets = vec![("mqtt", connection.into())];
    let dir = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::spawn(dir, &text, |program| activated(program, sockets));
    assert_eq!(proxy.wait_exit().code(), Some(1));
    proxy.wait_stderr("listener mqtt: cannot listen on 127.0.0.1:");
}

/// An announcement that is for a parent, which forgot to take it back.
#[test]
fn sockets_of_another_process() {
    let broker = Broker::echoing();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let given = socket.local_addr().unwrap();
    let text = Config::of([&broker]).text();
    let proxy = Proxy::start_in(tempfile::tempdir().unwrap(), &text, |program| {
        let mut command = Command::new(program);
        command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "mqtt"), ("LISTEN_PID", "1")]);
        let mapping = FdMapping { parent_fd: copy(&socket), child_fd: 3 };
        command.fd_mappings(vec![mapping]).unwrap();
        command
    });
    assert_ne!(proxy.address(), given);
    Client::session(proxy.address(), "own").echo(b"\xC0\x00");
}
