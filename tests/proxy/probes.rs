//! The probes of active health checks, as brokers see them.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{
    broker::{Broker, Link},
    client::{CONNACK_V3, Connect, DISCONNECT, connack},
    config::Config,
    harness::{PATIENCE, Proxy, program, wait_for},
    health::{CHECKS, UP, assert_all, client_id, patient},
};

/// A probe as a broker saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    packet: Vec<u8>,
    /// What came after the answer, and how it ended.
    pub(crate) rest: Vec<u8>,
    pub(crate) ended: Result<(), ErrorKind>,
}

impl Seen {
    /// Reads up to the end.
    pub(crate) fn rest_of(link: &mut Link, packet: Vec<u8>) -> Self {
        let mut rest = Vec::new();
        let ended = link.stream.read_to_end(&mut rest).map(drop).map_err(|error| error.kind());
        Self { packet, rest, ended }
    }

    fn client_id(&self) -> String {
        client_id(&self.packet)
    }
}

/// A broker that answers each CONNECT with `code`, and tells what it saw.
fn recording(code: u8) -> (Broker, mpsc::Receiver<Seen>) {
    let (tell, seen) = mpsc::channel();
    let broker = Broker::start(move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        link.send(&connack(4, code));
        // A test that has seen enough does not listen any more.
        let _ = tell.send(Seen::rest_of(&mut link, packet));
    });
    (broker, seen)
}

pub(crate) fn start_with_password(config: &Config) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "s3cret\n").unwrap();
    Proxy::start_in(dir, &config.text(), |_| program())
}

#[test]
fn an_mqtt_probe_comes_and_goes_as_a_client_does() {
    let (broker, seen) = recording(0);
    let proxy = Config::of([&broker]).pool(&patient("mqtt")).start();
    let first = seen.recv_timeout(PATIENCE).unwrap();
    let id = first.client_id();
    assert!(id.starts_with("mqttlb") && id.len() <= 23, "{id}");
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    let again = seen.recv_timeout(PATIENCE).unwrap();
    for probe in [first, again] {
        assert_eq!(probe.packet, Connect::new(4, &id).keep_alive(30).bytes());
        assert_eq!(probe.rest, DISCONNECT);
        assert_eq!(probe.ended, Ok(()));
    }
    wait_for("good checks", || {
        (proxy.metric(CHECKS, &["\"b1\"", "outcome=\"ok\""]) > 1.5).then_some(())
    });
    assert_all(&proxy, "ok");
}

/// Brokers of one cluster would take two that are called the same for one client.
#[test]
fn no_two_probes_are_called_the_same() {
    let recorders = [recording(0), recording(0)];
    let mut ids = Vec::new();
    for _ in 0..2 {
        let config = Config::of(recorders.iter().map(|(broker, _)| broker));
        let _proxy = config.pool(&patient("mqtt")).start();
        for (_, seen) in &recorders {
            // Those of the proxy before, which has ended, are told of already.
            let id = wait_for("a new client", || {
                let id = seen.recv_timeout(PATIENCE).unwrap().client_id();
                (!ids.contains(&id)).then_some(id)
            });
            ids.push(id);
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_probe_says_who_it_is() {
    let (broker, seen) = recording(5);
    let mut config = Config::of([&broker]);
    config.log_level = "trace";
    for (more, password) in [("", None), (", password_file: password", Some("s3cret"))] {
        let kind = format!("mqtt, username: probe{more}");
        let proxy = start_with_password(&config.clone().pool(&patient(&kind)));
        let wanted = |id: &str| {
            Connect { password, ..Connect::new(4, id) }.username("probe").keep_alive(30).bytes()
        };
        wait_for("the login", || {
            let probe = seen.recv_timeout(PATIENCE).unwrap();
            (probe.packet == wanted(&probe.client_id())).then_some(())
        });
        proxy.wait_stderr("CONNACK code 5 (not_authorized), expected 0");
        assert!(proxy.stderr().iter().all(|line| !line.contains("s3cret")));
    }
}

#[test]
fn a_refusal_may_be_what_is_expected() {
    let (broker, seen) = recording(5);
    let proxy = Config::of([&broker]).pool(&patient("mqtt, expect: [0, 5]")).start();
    let probe = seen.recv_timeout(PATIENCE).unwrap();
    // Who was refused has nothing to end but the connection.
    assert_eq!((probe.rest, probe.ended), (vec![], Ok(())));
    wait_for("good checks", || (proxy.metric(CHECKS, &["outcome=\"ok\""]) > 3.5).then_some(()));
    assert_all(&proxy, "ok");
    assert_eq!(proxy.metric(UP, &[]) as u64, 1);
}

/// However long one takes, the next waits for it.
#[test]
fn never_two_probes_at_once() {
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (opened, highest) = (open.clone(), most.clone());
    let slow = Broker::start(move |mut link: Link| {
        highest.fetch_max(opened.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let Some(packet) = link.read_packet() else { return };
        // The bytes one by one, and then a late end: three intervals, all in all.
        for byte in CONNACK_V3 {
            thread::sleep(Duration::from_millis(50));
            link.send(&[*byte]);
        }
        Seen::rest_of(&mut link, packet);
        thread::sleep(Duration::from_millis(100));
        opened.fetch_sub(1, Ordering::SeqCst);
    });
    let proxy = Config::of([&slow]).pool(&patient("mqtt")).start();
    wait_for("good checks", || (proxy.metric(CHECKS, &["\"ok\""]) > 2.5).then_some(()));
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_all(&proxy, "ok");
}

#[test]
fn a_tcp_probe_ends_without_a_reset() {
    let (tell, seen) = mpsc::channel();
    let broker = Broker::start(move |mut link: Link| {
        let probe = Seen::rest_of(&mut link, vec![]);
        // What a broker still says must not be answered with a reset.
        let still_there = (0..10).all(|_| {
            thread::sleep(Duration::from_millis(5));
            link.stream.write_all(b"x").is_ok() && matches!(link.stream.take_error(), Ok(None))
        });
        let _ = tell.send((probe, still_there));
    });
    let proxy = Config::of([&broker]).pool(&patient("tcp")).start();
    for _ in 0..3 {
        let (probe, still_there) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((probe.rest, probe.ended), (vec![], Ok(())));
        assert!(still_there);
    }
    wait_for("good checks", || (proxy.metric(CHECKS, &["\"ok\""]) > 1.5).then_some(()));
}

/// What is no CONNACK, however much of it there is, costs a few bytes and fails the check.
#[test]
fn answers_that_make_no_sense() {
    for (babble, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "no CONNACK: "),
        (b"\x20\xff\xff\xff\xff\xff", "no CONNACK: "),
        (b"\x20\xff\xff\xff\x7f", "no CONNACK: "),
        (b"\x20\x02\x00", "closed before a CONNACK"),
        (b"", "closed before a CONNACK"),
    ] {
        let broker = Broker::start(move |mut link: Link| {
            if link.read_packet().is_some() {
                link.send(babble);
            }
        });
        let proxy = Config::of([&broker]).pool(&patient("mqtt")).start();
        proxy.wait_metric(UP, &[], 0.0);
        proxy.wait_stderr(said);
        assert_all(&proxy, "failed");
    }
}

/// Endless answers, of each kind, from the first byte on or behind a good answer.
#[test]
fn answers_without_end() {
    let read_whole = Arc::new(AtomicUsize::new(0));
    let flood = |start: &'static [u8], chunk: &'static [u8]| {
        let read_whole = read_whole.clone();
        Broker::start(move |mut link: Link| {
            let mut heard = [0; 1024];
            // A TCP probe says nothing but its end.
            let _ = link.stream.read(&mut heard);
            let chunk = chunk.repeat(64 * 1024 / chunk.len());
            let mut sent = link.stream.write_all(start);
            // 64 MiB: far more than sockets hold, and than a proxy may.
            for _ in 0..1024 {
                sent = sent.and_then(|()| link.stream.write_all(&chunk));
            }
            read_whole.fetch_add(usize::from(sent.is_ok()), Ordering::SeqCst);
        })
    };
    let head = b"HTTP/1.1 200 OK\r\n";
    for (kind, start, chunk, outcome) in [
        ("tcp", &b""[..], &b"x"[..], "ok"),
        ("mqtt", b"", b"\x20", "failed"),
        ("mqtt", b"\x20\x02\x00\x00", b"\xd0\x00", "ok"),
        ("http", head, b"X: y\r\n", "failed"),
        ("http", b"HTTP/1.1 ", b"2", "failed"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n", b"x", "ok"),
        ("http", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "ok"),
    ] {
        let broker = flood(start, chunk);
        let kind = match kind {
            "http" => format!("http, port: {}", broker.address.port()),
            _ => kind.to_owned(),
        };
        let proxy = Config::of([&broker]).pool(&patient(&kind)).start();
        let before = proxy.memory();
        wait_for("checks", || (proxy.metric(CHECKS, &[]) > 9.5).then_some(()));
        let grown = proxy.memory().saturating_sub(before);
        assert_all(&proxy, outcome);
        assert_eq!(read_whole.load(Ordering::SeqCst), 0, "{kind} {start:?}");
        assert!(grown < 4 * 1024 * 1024, "{kind} {start:?}: {grown} bytes");
    }
}

#[test]
fn a_broker_with_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (tell, seen) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut heard = [0; 1024];
            let n = stream.read(&mut heard).unwrap_or_default();
            let _ = stream.write_all(CONNACK_V3);
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest).map(drop).map_err(|error| error.kind());
            let _ = tell.send(Seen { packet: heard[..n].to_vec(), rest, ended });
        }
    });
    let at = format!("unix:{}", path.display());
    let config = Config::at([&at]);

    let proxy = config.clone().pool(&patient("mqtt")).start();
    let probe = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(probe.packet, Connect::new(4, &probe.client_id()).keep_alive(30).bytes());
    assert_eq!((&probe.rest[..], probe.ended), (DISCONNECT, Ok(())));
    wait_for("good checks", || (proxy.metric(CHECKS, &["\"ok\""]) > 1.5).then_some(()));
    drop(proxy);

    let proxy = config.pool(&patient("tcp")).start();
    wait_for("good checks", || (proxy.metric(CHECKS, &["\"ok\""]) > 1.5).then_some(()));
    std::fs::remove_file(&path).unwrap();
    proxy.wait_metric(UP, &[], 0.0);
    proxy.wait_stderr("cannot connect: No such file or directory");
}
