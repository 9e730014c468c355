//! Brokers that fail clients are left alone for a while, and get one trial after it.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    broker::{Broker, Link, echo},
    client::{Client, connack, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    routing::{ids, route},
};

/// A broker that accepts connections and resets them, for as long as it is told to be `bad`.
fn moody(bad: &Arc<AtomicBool>) -> Broker {
    let bad = bad.clone();
    Broker::start(move |mut link: Link| {
        if !bad.load(Ordering::SeqCst) {
            return echo(link);
        }
        link.read_packet();
        link.reset();
    })
}

/// IDs whose first broker is `first`.
fn ids_of(proxy: &Proxy, first: &str) -> Vec<String> {
    let orders = route(proxy, &[], &ids());
    ids().into_iter().zip(orders).filter(|(_, order)| order[0] == first).map(|(id, _)| id).collect()
}

#[track_caller]
fn visit(proxy: &Proxy, id: &str, upstream: &str, tries: u32) {
    Client::session(proxy.address(), id);
    let line = proxy.wait_end(id);
    assert_eq!((&line["upstream"], &line["tries"]), (&upstream.into(), &tries.into()), "{line}");
}

fn ejections(proxy: &Proxy) -> u64 {
    proxy.metric("mqtt_lb_upstream_ejections_total", &[]) as u64
}

#[test]
fn five_failures_a_pause_and_a_trial() {
    let bad = Arc::new(AtomicBool::new(true));
    let (moody, good) = (moody(&bad), Broker::echoing());
    let passive = "health: { passive: { failures: 5, eject_for: 300ms } }";
    let proxy = Config::of([&moody, &good]).pool(passive).workers(2).start();
    let mut ids = ids_of(&proxy, "b1").into_iter();
    let mut next = || ids.next().unwrap();
    let up = ["upstream=\"b1\""];
    for failure in 1..=5 {
        assert_eq!(proxy.metric("mqtt_lb_upstream_up", &up) as u64, 1, "failure {failure}");
        visit(&proxy, &next(), "b2", 2);
    }
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &up) as u64, 0);
    assert_eq!(ejections(&proxy), 1);
    proxy.wait_stderr("ejected for 300ms");
    let asked = moody.connections();
    visit(&proxy, &next(), "b2", 1);
    assert_eq!(moody.connections(), asked);
    // The trial fails, and one failure is enough.
    wait_for("a trial", || {
        Client::session(proxy.address(), &next());
        (moody.connections() > asked).then_some(())
    });
    wait_for("the second ejection", || (ejections(&proxy) == 2).then_some(()));
    proxy.wait_stderr("ejected for 600ms");
    assert_eq!(moody.connections(), asked + 1);
    bad.store(false, Ordering::SeqCst);
    wait_for("a trial that succeeds", || {
        let id = next();
        Client::session(proxy.address(), &id);
        (proxy.wait_end(&id)["upstream"] == "b1").then_some(())
    });
    proxy.wait_stderr("back from ejection");
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &up) as u64, 1);
    visit(&proxy, &next(), "b1", 1);
    assert_eq!(ejections(&proxy), 2);
}

/// While the trial is under way nobody else is sent to a broker that may not answer.
#[test]
fn one_trial_at_a_time() {
    let (failed, release) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let released = release.clone();
    let first = Broker::start(move |mut link: Link| {
        link.read_packet();
        if failed.swap(true, Ordering::SeqCst) {
            wait_for("the release", || released.load(Ordering::SeqCst).then_some(()));
        }
        link.reset();
    });
    let good = Broker::echoing();
    let passive = "health: { passive: { failures: 1, eject_for: 1ms } }";
    let config = Config::of([&first, &good]).pool(passive).pool("connack_timeout: 60s").workers(2);
    let proxy = config.start();
    let ids = ids_of(&proxy, "b1");
    visit(&proxy, &ids[0], "b2", 2);
    assert_eq!((first.connections(), ejections(&proxy)), (1, 1));
    // The first client after the pause waits for the broker's answer …
    let mut trials = Vec::new();
    wait_for("a trial", || {
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, &ids[1]));
        trials.push(client);
        (first.connections() > 1).then_some(())
    });
    // … and all others do not.
    for id in &ids[2..22] {
        visit(&proxy, id, "b2", 1);
    }
    assert_eq!(first.connections(), 2);
    release.store(true, Ordering::SeqCst);
    for client in &mut trials {
        client.expect(&connack(4, 0));
    }
    wait_for("the second ejection", || (ejections(&proxy) == 2).then_some(()));
}

/// A CONNECT that no broker takes says nothing of any of them: else any client could have them
/// ejected.
#[test]
fn a_client_that_nobody_takes() {
    let picky = || {
        Broker::start(|mut link: Link| {
            let Some(connect) = link.read_packet() else { return };
            if connect.ends_with(b"evil") {
                return;
            }
            link.send(&connack(4, 0));
            let _ = io::copy(&mut link.stream, &mut io::sink());
        })
    };
    let brokers = [picky(), picky()];
    let proxy = Config::of(&brokers).pool("health: { passive: { failures: 2 } }").start();
    for n in 0..10 {
        let id = format!("{n}-evil");
        Client::exchange(proxy.address(), &connect(4, &id), &connack(4, 3)).expect_end();
        assert_eq!(end(&proxy.wait_end(&id)), "upstream/connack/closed");
    }
    assert_eq!(ejections(&proxy), 0);
    visit(&proxy, &ids_of(&proxy, "b1")[0], "b1", 1);
}

/// However many fail, some are left to be tried.
#[test]
fn no_more_than_max_ejected_percent() {
    let bad = Arc::new(AtomicBool::new(true));
    let brokers = [moody(&bad), moody(&bad), moody(&bad), Broker::echoing()];
    let passive = "health: { passive: { failures: 1, max_ejected_percent: 50 } }";
    let proxy = Config::of(&brokers).pool(passive).pool("tries: 4").start();
    for id in &ids()[..60] {
        Client::session(proxy.address(), id);
        assert_eq!(proxy.wait_end(id)["upstream"], "b4");
    }
    assert_eq!(ejections(&proxy), 2);
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &[]) as u64, 2);
}

/// Failures count only within the window, and only in a row.
#[test]
fn an_answer_in_between() {
    let bad = Arc::new(AtomicBool::new(true));
    let (moody, good) = (moody(&bad), Broker::echoing());
    let passive = "health: { passive: { failures: 3 } }";
    let proxy = Config::of([&moody, &good]).pool(passive).start();
    for (n, id) in ids_of(&proxy, "b1").iter().take(12).enumerate() {
        bad.store(n % 3 != 2, Ordering::SeqCst);
        let (upstream, tries) = if n % 3 == 2 { ("b1", 1) } else { ("b2", 2) };
        visit(&proxy, id, upstream, tries);
    }
    assert_eq!(ejections(&proxy), 0);
}

/// A fleet that comes at once overruns a broker's accept queue: SYNs are lost, and dials with them.
/// The broker is there all the same, as the clients that it did take show.
#[test]
fn a_full_accept_queue_is_no_failure() {
    let good = Broker::echoing();
    // Takes one client after the other, each when the one before it has been answered.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    let listener = std::net::TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let stopping = stopped.clone();
    let accepting = thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            if stopping.load(Ordering::SeqCst) {
                return;
            }
            let mut link = Link { stream: stream.unwrap() };
            link.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            link.accept();
            held.push(link);
        }
    });
    let pool = "connect_timeout: 300ms";
    let addresses = [address.to_string(), good.address.to_string()];
    let passive = "health: { passive: { failures: 1, eject_for: 1h } }";
    let proxy = Config::at(addresses).pool(pool).pool(passive).workers(2).start();
    let ids = ids_of(&proxy, "b1");
    let clients: Vec<_> = ids[..60]
        .iter()
        .map(|id| {
            let mut client = Client::open(proxy.address());
            client.send(&connect(4, id));
            client
        })
        .collect();
    for mut client in clients {
        client.expect(&connack(4, 0));
    }
    let timed_out = ["upstream=\"b1\"", "outcome=\"connect_timeout\""];
    let accepted = ["upstream=\"b1\"", "outcome=\"accepted\""];
    let tries = |labels: &[&str]| proxy.metric("mqtt_lb_upstream_tries_total", labels) as u64;
    assert!(tries(&accepted) > 0);
    assert!(tries(&timed_out) > 0, "no dial was lost");
    assert_eq!(ejections(&proxy), 0);
    stopped.store(true, Ordering::SeqCst);
    let _ = TcpStream::connect(address);
    accepting.join().unwrap();
}
