//! A client that the proxy does not read, as its broker takes nothing, is not silent.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixListener,
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connect, publish},
    config::Config,
    harness::{Proxy, end},
};

const KEEP_ALIVE: u16 = 1;
const IDLE: &str = "timeouts: { idle: 1s }";

/// Sends until nothing is taken any more; how much that was.
fn fill(client: &mut Client, packet: &[u8]) -> usize {
    client.stream.set_nonblocking(true).unwrap();
    let (mut sent, mut refused) = (0, 0);
    // What the proxy has read meanwhile makes room for more.
    while refused < 50 {
        match client.stream.write(&packet[sent % packet.len()..]) {
            Ok(n) => {
                sent += n;
                refused = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                thread::sleep(Duration::from_millis(5));
                refused += 1;
            }
        }
    }
    client.stream.set_nonblocking(false).unwrap();
    sent
}

/// Sessions that are silent come and go, one after the other: by then the limit is long over.
fn outwait_the_limit(proxy: &Proxy, keep_alive: u16) {
    for n in 0..2 {
        let id = format!("silent-{n}");
        let packet = Connect::new(4, &id).keep_alive(keep_alive).bytes();
        Client::exchange(proxy.address(), &packet, CONNACK_V3).expect_end();
        assert_eq!(end(&proxy.wait_end(&id)), "proxy/relay/idle");
    }
}

/// By a keep alive, and by `timeouts.idle`: the session goes on once its broker does.
#[test]
fn a_broker_that_reads_nothing_for_long() {
    for more in ["timeouts: { idle: keepalive }", IDLE] {
        let (go_on, may_go_on) = mpsc::channel::<usize>();
        let may_go_on = std::sync::Mutex::new(may_go_on);
        let (counted, count) = mpsc::channel();
        let broker = Broker::start(move |mut link| {
            let Some(connect) = link.accept() else { return };
            if !connect.windows(4).any(|id| id == b"busy") {
                let _ = link.stream.read(&mut [0]);
                return;
            }
            let Ok(sent) = may_go_on.lock().unwrap().recv() else { return };
            let mut all = vec![0; sent];
            counted.send(link.stream.read_exact(&mut all).map(|()| all.len()).ok()).unwrap();
            link.send(b"\xD0\x00");
            let _ = link.stream.read(&mut [0]);
        });
        let proxy = Config::of([&broker]).more(more).start();
        let busy = Connect::new(4, "busy").keep_alive(KEEP_ALIVE).bytes();
        let mut client = Client::exchange(proxy.address(), &busy, CONNACK_V3);
        let sent = fill(&mut client, &publish(&[b'x'; 8000]));
        outwait_the_limit(&proxy, KEEP_ALIVE);
        go_on.send(sent).unwrap();
        assert_eq!(count.recv().unwrap(), Some(sent));
        client.expect(b"\xD0\x00");
        drop(client);
        let line = proxy.wait_end("busy");
        assert_eq!(end(&line), "client/relay/closed");
        assert_eq!(line["bytes_in"], busy.len() + sent);
    }
}

/// A client that does not read is not silent by the time that both sides may be; its broker is held
/// back.
#[test]
fn a_client_that_reads_nothing_for_long() {
    const BYTES: usize = 64 << 20;
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.accept() else { return };
        if connect.windows(4).any(|id| id == b"busy") {
            let _ = link.stream.write_all(&vec![0x30; BYTES]);
        }
        let _ = link.stream.read(&mut [0]);
    });
    let proxy = Config::of([&broker]).more(IDLE).start();
    let mut client = Client::exchange(proxy.address(), &connect(4, "busy"), CONNACK_V3);
    outwait_the_limit(&proxy, 0);
    assert_eq!(client.rest_of(BYTES), vec![0x30; BYTES]);
    drop(client);
    assert_eq!(end(&proxy.wait_end("busy")), "client/relay/closed");
}

/// On a unix socket nothing else watches over a broker that takes nothing, so the limit stays.
#[test]
fn a_broker_on_a_unix_socket_that_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(CONNACK_V3);
            kept.push(stream);
        }
    });
    let proxy = Config::at([format!("unix:{}", path.display())]).more(IDLE).start();
    let mut client = Client::session(proxy.address(), "busy");
    fill(&mut client, &publish(&[b'x'; 8000]));
    assert_eq!(end(&proxy.wait_end("busy")), "proxy/relay/timeout");
}
