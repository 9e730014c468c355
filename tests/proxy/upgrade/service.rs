//! Upgrades under a service manager: socket activation, and the main process.

use std::{net::TcpListener, os::unix::net::SocketAddr as UnixAddress};

use rustix::process::Signal;

use super::{NewProcess, rename_pool};
use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    harness::{Proxy, program, wait_for},
    inherited::{activated, copy},
    service_manager::Manager,
};

/// The sockets of the service manager go from process to process.
#[test]
fn socket_activation() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).bind("127.0.0.1:1").workers(2);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::start_in(dir, &config.text(), |program| {
        activated(program, vec![("mqtt", copy(&socket))])
    });
    let mut session = Client::session(proxy.address(), "before");
    let mut new = NewProcess::of(&proxy);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    new.next(&proxy);
    assert_eq!(proxy.address(), socket.local_addr().unwrap());
    session.echo(b"\xC0\x00");
    Client::session(proxy.address(), "after").echo(b"\xC0\x00");
}

/// The old process names the new one, which then says that it is ready.
#[test]
fn the_main_process() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&UnixAddress::from_pathname(&path).unwrap());
    let mut proxy = Proxy::start_in(dir, &Config::of([&broker]).text(), |_| {
        let mut command = program();
        command.env("NOTIFY_SOCKET", &path);
        command
    });
    assert_eq!(manager.hear(), "READY=1\nSTATUS=Serving\n");
    let session = Client::session(proxy.address(), "stays");
    rename_pool(&proxy);
    let new = NewProcess::of(&proxy);
    assert_eq!(manager.hear(), format!("MAINPID={}\n", new.pid().as_raw_nonzero()));
    let left = "connections left with the process before the upgrade: 1";
    assert_eq!(manager.hear(), format!("READY=1\nSTATUS=Serving; {left}\n"));
    drop(session);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert_eq!(manager.hear(), "READY=1\nSTATUS=Serving\n");
    new.signal(Signal::TERM);
    wait_for("the new process to end", || (!new.is_running()).then_some(()));
}
