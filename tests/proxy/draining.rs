//! How sessions end while the proxy stops: evenly, the oldest first, with those who are on their way
//! served first.

use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, connect},
    config::Config,
    harness::{Proxy, end, is_end, wait_for},
};

/// The DISCONNECT of 5.0: server shutting down.
const SHUTTING_DOWN: &[u8] = b"\xE0\x01\x8B";

/// Sessions of 3.1.1 and 5.0 in turn, and what each is told at the end.
fn sessions(proxy: &Proxy, count: usize) -> Vec<(Client, &'static [u8])> {
    let session = |n: usize| {
        let (version, connack, goodbye) =
            [(4, CONNACK_V3, &b""[..]), (5, CONNACK_V5, SHUTTING_DOWN)][n % 2];
        let hello = connect(version, &format!("c{n}"));
        (Client::exchange(proxy.address(), &hello, connack), goodbye)
    };
    (0..count).map(session).collect()
}

/// When each session ended, as parts of the drain that began at `began`, in the order of the log.
fn ends(proxy: &Proxy, began: SystemTime, timeout: Duration) -> Vec<(Value, f64)> {
    let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let part = |line: &Value| {
        let since = second_of_the_day(line["time"].as_str().unwrap()) - began % DAY;
        since.rem_euclid(DAY) / timeout.as_secs_f64()
    };
    let ends = proxy.log().into_iter().filter(is_end);
    ends.map(|line| (line.clone(), part(&line))).collect()
}

const DAY: f64 = 86_400.0;

fn second_of_the_day(rfc3339: &str) -> f64 {
    let (_, time) = rfc3339.trim_end_matches('Z').split_once('T').unwrap();
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// Stops a proxy that has so many sessions, and looks at how they ended.
fn sessions_end_evenly(workers: usize, count: usize) {
    let timeout = Duration::from_secs(6);
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 6s }").workers(workers).start();
    let clients = sessions(&proxy, count);
    let began = SystemTime::now();
    proxy.signal(Signal::TERM);
    for (mut client, goodbye) in clients {
        assert_eq!(client.rest(), (goodbye.to_vec(), Ok(())));
    }
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let ends = ends(&proxy, began, timeout);
    assert_eq!(ends.len(), count);
    assert!(ends.iter().all(|(line, _)| end(line) == "proxy/relay/drain"));
    let within =
        |from: f64, to: f64| ends.iter().filter(|(_, part)| (from..to).contains(part)).count();
    let parts: Vec<_> = ends.iter().map(|(_, part)| *part).collect();
    for third in [0.0, 1.0, 2.0] {
        let ended = within(third / 3.0, (third + 1.0) / 3.0);
        assert!(ended >= count / 4, "{ended} of {count} in a third: {parts:?}");
    }
    for tenth in 0..10 {
        let from = f64::from(tenth) / 10.0;
        let ended = within(from, from + 0.1);
        assert!(ended <= count / 5, "{ended} of {count} in a tenth: {parts:?}");
    }
    // Each worker has ended its own by their age.
    for worker in 0..workers as u64 {
        let of_worker = |line: &&(Value, f64)| {
            let session = u64::from_str_radix(line.0["session"].as_str().unwrap(), 16).unwrap();
            session >> 38 & 0x3FF == worker
        };
        let number = |line: &(Value, f64)| {
            line.0["client_id"].as_str().unwrap()[1..].parse::<usize>().unwrap()
        };
        let order: Vec<_> = ends.iter().filter(of_worker).map(number).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert!(workers > 1 || order.len() == count);
    }
}

#[test]
fn sessions_of_one_worker_end_evenly() {
    sessions_end_evenly(1, 70);
}

#[test]
fn sessions_of_several_workers_end_evenly() {
    sessions_end_evenly(3, 90);
}

/// Nobody has to wait for sessions where there is no time for them.
#[test]
fn no_time_for_sessions() {
    let broker = Broker::echoing();
    for timeout in ["0s", "1ms"] {
        let config = Config::of([&broker]).more(&format!("drain: {{ timeout: {timeout} }}"));
        let mut proxy = config.workers(2).start();
        let clients = sessions(&proxy, 150);
        proxy.signal(Signal::TERM);
        for (mut client, goodbye) in clients {
            assert_eq!(client.rest(), (goodbye.to_vec(), Ok(())));
        }
        assert_eq!(proxy.wait_exit().code(), Some(0));
        let ends: Vec<_> = proxy.log().into_iter().filter(is_end).collect();
        assert_eq!(ends.len(), 150);
        assert!(ends.iter().all(|line| end(line) == "proxy/relay/drain"));
    }
}

/// Clients that the kernel has accepted, and the proxy has not yet been able to.
const QUEUED: usize = 75;

/// Has clients connect while the proxy does not run, and tells it to stop before it runs again.
fn queue<T>(proxy: &Proxy, open: impl Fn(&str) -> T) -> Vec<T> {
    proxy.signal(Signal::STOP);
    wait_for("the proxy to be stopped", || {
        let status = std::fs::read_to_string(proxy.proc("status")).unwrap();
        status.contains("State:\tT").then_some(())
    });
    let clients = (0..QUEUED).map(|n| open(&format!("q{n}"))).collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    clients
}

/// Each of them is served: a session that ends as all others do.
pub(crate) fn those_queued_at(address: SocketAddr, mut proxy: Proxy) {
    let clients = queue(&proxy, |id| {
        let mut client = Client::open(address);
        client.send(&connect(4, id));
        client
    });
    for mut client in clients {
        client.expect(CONNACK_V3);
        client.echo(b"\xC0\x00");
    }
    assert_eq!(proxy.wait_exit().code(), Some(0));
    all_were_served(&proxy);
}

fn all_were_served(proxy: &Proxy) {
    let ends: Vec<_> = proxy.log().into_iter().filter(is_end).map(|line| end(&line)).collect();
    assert_eq!(ends.len(), QUEUED);
    assert!(ends.iter().all(|end| end == "client/relay/closed"), "{ends:?}");
}

#[test]
fn those_queued_at_a_port_are_served_first() {
    for workers in [1, 2] {
        let broker = Broker::echoing();
        let config = Config::of([&broker]).more("drain: { timeout: 60m }").workers(workers);
        let proxy = config.start();
        those_queued_at(proxy.address(), proxy);
    }
}

#[test]
fn those_queued_at_a_unix_socket_are_served_first() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("drain: { timeout: 60m }").bind("unix:mqtt.sock");
    let mut proxy = config.workers(2).start();
    let path = proxy.path("mqtt.sock");
    let clients = queue(&proxy, |id| hail(&path, id));
    for client in &clients {
        take_connack(client);
    }
    drop(clients);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    all_were_served(&proxy);
}

fn hail(path: &Path, id: &str) -> UnixStream {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    io::Write::write_all(&mut client, &connect(4, id)).unwrap();
    client
}

fn take_connack(mut client: &UnixStream) {
    let mut connack = [0; 4];
    io::Read::read_exact(&mut client, &mut connack).unwrap();
    assert_eq!(connack, CONNACK_V3);
}

/// Clients who wait for admission are admitted while there is time, and end like all others.
#[test]
fn those_queued_for_admission() {
    const CLIENTS: usize = 40;
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("drain: { timeout: 3s }");
    let admission = "admission: { rate: 5, burst: 1, max_wait: 60s }";
    let mut proxy = config.pool(admission).start();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut client = Client::open(proxy.address());
            client.send(&connect(5, &format!("c{n}")));
            client
        })
        .collect();
    proxy.wait_metric("mqtt_lb_connections_active", &[], CLIENTS as f64);
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");
    let before = broker.connections();
    let rests: Vec<_> = clients.into_iter().map(|mut client| client.rest()).collect();
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(broker.connections() > before + 2, "{before}, then {}", broker.connections());
    let served = [CONNACK_V5, SHUTTING_DOWN].concat();
    let served = rests.iter().filter(|rest| **rest == (served.clone(), Ok(()))).count();
    assert_eq!(served, broker.connections());
    assert!(served < CLIENTS);
    let ends: Vec<_> = proxy.log().into_iter().filter(is_end).map(|line| end(&line)).collect();
    let count = |wanted: &str| ends.iter().filter(|end| *end == wanted).count();
    assert_eq!(count("proxy/relay/drain"), served);
    assert_eq!(count("proxy/dial/drain"), CLIENTS - served);
    assert_eq!(ends.len(), CLIENTS);
}

/// A handshake that is under way when the proxy is told to stop.
#[test]
fn a_handshake_goes_on() {
    let (answer, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let broker = Broker::start(move |mut link| {
        let connect = link.read_packet().unwrap();
        let _ = wait.lock().unwrap().recv();
        crate::broker::echo_to(link, &connect);
    });
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 60m }").start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "late"));
    broker.wait_connections(1);
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");
    answer.send(()).unwrap();
    client.expect(CONNACK_V3);
    client.echo(b"\xC0\x00");
    drop(client);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert_eq!(end(&proxy.wait_end("late")), "client/relay/closed");
}
