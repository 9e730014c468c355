//! The listening sockets move without a connection refused.

use std::{
    io::Read,
    net::TcpStream,
    os::unix::net::UnixStream,
    process::ExitStatus,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::NewProcess;
use crate::{
    broker::Broker,
    client::{Client, DISCONNECT},
    config::Config,
    harness::{Proxy, SetAtEnd, wait_for},
};

/// Twenty upgrades, one after the other, while clients connect all the time.
#[test]
fn no_connection_is_refused() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let (address, admin) = (proxy.address(), proxy.admin());
    let (done, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|thread| {
                let (done, connected) = (&done, &connected);
                scope.spawn(move || {
                    let mut n = 0;
                    while !done.load(Ordering::Relaxed) {
                        let mut client = Client::session(address, &format!("c{thread}-{n}"));
                        client.echo(b"\xC0\x00");
                        client.send(DISCONNECT);
                        n += 1;
                        connected.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let _done = SetAtEnd(&done);
        for _ in 0..20 {
            let before = connected.load(Ordering::Relaxed);
            wait_for("clients", || (connected.load(Ordering::Relaxed) > before + 10).then_some(()));
            TcpStream::connect(admin).unwrap();
            NewProcess::of(&proxy).follow(&proxy);
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        let count = connected.load(Ordering::Relaxed);
        wait_for("all lines", || {
            let log = proxy.log();
            let of = |event| log.iter().filter(|line| line["event"] == event).count();
            (of("connect") == count && of("disconnect") == count).then_some(())
        });
        let exits = wait_for("the processes before to end", || proxy.earlier_exits());
        assert!(exits.len() == 20 && exits.iter().all(ExitStatus::success), "{exits:?}");
    });
}

/// The file stays when the old process ends, and goes with the new one.
#[test]
fn a_unix_socket() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let text = Config::of([&broker]).bind(format!("unix:{}", path.display())).text();
    let mut proxy = Proxy::start_in(dir, &text, |_| crate::harness::program());
    let new = NewProcess::of(&proxy);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(path.exists());
    let mut client = UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut client, &crate::client::connect(4, "unix")).unwrap();
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    drop(client);
    new.signal(rustix::process::Signal::TERM);
    wait_for("the new process to end", || (!new.is_running()).then_some(()));
    assert!(!path.exists());
}
