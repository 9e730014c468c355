//! Pools of which no broker takes anybody: who is blamed, what is said, and how it ends.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

use crate::{
    broker::{Broker, Link, echo, echo_to},
    client::{Client, connack, connect},
    config::Config,
    harness::{Proxy, run, wait_for},
    health::is_probe,
    routing::brokers,
};

pub(crate) const SERVING: &str = "mqtt_lb_pool_serving";
pub(crate) const EJECTIONS: &str = "mqtt_lb_upstream_ejections_total";

#[track_caller]
pub(crate) fn refuse(address: SocketAddr, id: &str) {
    Client::exchange(address, &connect(4, id), &connack(4, 3)).expect_end();
}

/// What the log says of it, once it does.
pub(crate) fn wait_lines(proxy: &Proxy, part: &str) -> Vec<String> {
    proxy.wait_stderr(part);
    lines(proxy, part)
}

pub(crate) fn lines(proxy: &Proxy, part: &str) -> Vec<String> {
    proxy.stderr().into_iter().filter(|line| line.contains(part)).collect()
}

/// `/readyz`: its status code and its text.
pub(crate) fn ready(proxy: &Proxy) -> (u16, String) {
    let answer = proxy.get("/readyz");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[track_caller]
pub(crate) fn wait_ready(proxy: &Proxy, code: u16) -> String {
    wait_for(&format!("/readyz to be {code}"), || {
        let (now, said) = ready(proxy);
        (now == code).then_some(said)
    })
}

pub(crate) fn api(proxy: &Proxy, path: &str) -> Value {
    let answer = proxy.get(path);
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

pub(crate) fn restart(address: SocketAddr) -> Broker {
    let listener = wait_for("the port", || TcpListener::bind(address).ok());
    Broker::start_on(listener, echo)
}

#[test]
fn nobody_is_blamed_and_everybody_is_told() {
    let mut brokers = brokers::<2>();
    let proxy = Config::of(&brokers).workers(2).start();
    assert_eq!((ready(&proxy).0, proxy.metric(SERVING, &[]) as u64), (200, 1));
    let mut kept = Client::session(proxy.address(), "kept");
    brokers.iter_mut().for_each(Broker::stop);
    for n in 0..40 {
        refuse(proxy.address(), &format!("refused-{n}"));
    }
    let reason = wait_ready(&proxy, 503);
    let gone = "cannot connect: Connection refused (os error 111)";
    assert_eq!(reason, format!("not ready: pool brokers serves nobody: b1: {gone}\n"));
    proxy.wait_metric(SERVING, &["pool=\"brokers\""], 0.0);
    assert_eq!(proxy.metric(EJECTIONS, &[]) as u64, 0);
    assert_eq!(lines(&proxy, "ejected"), [""; 0]);
    let said = wait_lines(&proxy, "serves nobody");
    assert_eq!(said.len(), 1, "{said:?}");
    for part in ["ERROR", "pool=brokers", "refused=", &format!("\"b1: {gone}; b2: {gone}\"")] {
        assert!(said[0].contains(part), "{part}: {}", said[0]);
    }
    let pools = api(&proxy, "/api/v1/upstreams");
    let pool = &pools["pools"][0];
    assert_eq!(pool["serving"], false);
    assert_eq!(pool["not_serving"], format!("pool brokers serves nobody: b1: {gone}"));
    for upstream in pool["upstreams"].as_array().unwrap() {
        assert_eq!((&upstream["status"], &upstream["up"]), (&"failing".into(), &false.into()));
    }
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &[]) as u64, 0);
    let status = api(&proxy, "/api/v1/status");
    assert_eq!((&status["ready"], &status["not_ready"]), (&false.into(), &pool["not_serving"]));
    let admin = format!("http://{}", proxy.admin());
    let ctl = |command: &str| {
        let output = run(&["ctl", "--admin", &admin, command], "");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        ctl("status").contains("not ready: pool brokers serves nobody: b1"),
        "{}",
        ctl("status")
    );
    assert!(ctl("upstreams").contains(&format!("brokers serves nobody: b1: {gone}")));
    kept.echo(b"\xC0\x00");

    // Without a single client it is noticed that one is back.
    let back = restart(brokers[1].address);
    assert_eq!(wait_ready(&proxy, 200), "ok\n");
    proxy.wait_metric(SERVING, &[], 1.0);
    let again = wait_lines(&proxy, "serves again: a broker answers");
    assert_eq!(again.len(), 1);
    assert!(again[0].contains("refused=40") && again[0].contains("seconds="), "{}", again[0]);
    assert_eq!(api(&proxy, "/api/v1/upstreams")["pools"][0]["upstreams"][1]["status"], "up");
    assert_eq!(proxy.metric("mqtt_lb_upstream_up", &[]) as u64, 2);
    drop(Client::session(proxy.address(), "after"));
    assert_eq!(proxy.wait_end("after")["upstream"], "b2");
    drop(back);
}

/// One broker alone is as well told of.
#[test]
fn a_single_broker() {
    let mut broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    broker.stop();
    refuse(proxy.address(), "only");
    wait_ready(&proxy, 503);
    assert_eq!(wait_lines(&proxy, "serves nobody").len(), 1);
    let _back = restart(broker.address);
    wait_ready(&proxy, 200);
    // The next time is told of again.
    let line = &wait_lines(&proxy, "serves again")[0];
    assert!(line.contains("refused=1"), "{line}");
}

/// Brokers that hang up on CONNECTs that end in `evil`.
fn picky(probed: &Arc<AtomicUsize>) -> Broker {
    let probed = probed.clone();
    Broker::start(move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        if packet.ends_with(b"evil") {
            return;
        }
        if is_probe(&packet) {
            probed.fetch_add(1, Ordering::SeqCst);
            // It may refuse the proxy as it likes.
            return link.send(&connack(4, 5));
        }
        echo_to(link, &packet);
    })
}

/// No client can have a pool taken out: the proxy asks the brokers itself, who answer.
#[test]
fn clients_that_make_every_broker_hang_up() {
    let probed = Arc::new(AtomicUsize::new(0));
    let brokers = [picky(&probed), picky(&probed)];
    let proxy = Config::of(&brokers).start();
    for _ in 0..20 {
        refuse(proxy.address(), "one-evil");
    }
    assert_eq!((probed.load(Ordering::SeqCst), ready(&proxy).0), (0, 200));
    for n in 0..20 {
        refuse(proxy.address(), &format!("{n}-evil"));
    }
    wait_for("the proxy to ask", || (probed.load(Ordering::SeqCst) > 0).then_some(()));
    assert_eq!((ready(&proxy).0, proxy.metric(SERVING, &[]) as u64), (200, 1));
    assert_eq!(lines(&proxy, "serves nobody"), [""; 0]);
    assert_eq!(proxy.metric(EJECTIONS, &[]) as u64, 0);
    drop(Client::session(proxy.address(), "fine"));
}

/// Brokers that take connections and answer nobody.
#[test]
fn no_connack_for_anybody() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let brokers: [Broker; 2] = std::array::from_fn(|_| {
        let broken = broken.clone();
        Broker::start(move |link| {
            if !broken.load(Ordering::SeqCst) {
                echo(link);
            }
        })
    });
    let proxy = Config::of(&brokers).start();
    refuse(proxy.address(), "first");
    refuse(proxy.address(), "first");
    assert_eq!(ready(&proxy).0, 200);
    refuse(proxy.address(), "second");
    refuse(proxy.address(), "third");
    let reason = wait_ready(&proxy, 503);
    assert!(reason.contains("pool brokers serves nobody: b1: "), "{reason}");
    assert!(reason.contains("before a CONNACK"), "{reason}");
    assert_eq!(wait_lines(&proxy, "serves nobody").len(), 1);
    assert_eq!(proxy.metric(EJECTIONS, &[]) as u64, 0);
    broken.store(false, Ordering::SeqCst);
    wait_ready(&proxy, 200);
    assert_eq!(wait_lines(&proxy, "serves again: a broker answers").len(), 1);
}

/// A client that is answered ends it, too.
#[test]
fn a_client_that_is_answered() {
    let answering = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let allowed = answering.clone();
    let broker = Broker::start(move |mut link: Link| {
        let Some(packet) = link.read_packet() else { return };
        if allowed.load(Ordering::SeqCst) && !is_probe(&packet) {
            echo_to(link, &packet);
        }
    });
    let proxy = Config::of([&broker]).start();
    for id in ["one", "two", "three"] {
        refuse(proxy.address(), id);
    }
    wait_ready(&proxy, 503);
    answering.store(true, Ordering::SeqCst);
    drop(Client::session(proxy.address(), "served"));
    wait_ready(&proxy, 200);
    proxy.wait_stderr("serves again: a client has been answered");
}

/// One of several pools that serves nobody is enough for a balancer in front to look elsewhere.
#[test]
fn one_pool_of_two() {
    let alive = Broker::echoing();
    let mut dead = Broker::echoing();
    let other = format!(
        "pools:\n  - name: other\n    upstreams: [ {{ name: o1, address: \"{}\" }} ]\n",
        dead.address
    );
    let second = "listeners: [ { name: second, bind: \"127.0.0.1:0\", pool: other }, ";
    let text = Config::of([&alive]).text();
    let text = text.replace("pools:\n", &other).replace("listeners: [ ", second);
    let proxy = Proxy::start(&text);
    dead.stop();
    assert_eq!(ready(&proxy).0, 200);
    refuse(proxy.address_of("second"), "lost");
    let reason = wait_ready(&proxy, 503);
    assert!(reason.contains("pool other serves nobody: o1: cannot connect"), "{reason}");
    drop(Client::session(proxy.address(), "served"));
    assert_eq!(proxy.metric(SERVING, &["pool=\"brokers\""]) as u64, 1);
    assert_eq!(proxy.metric(SERVING, &["pool=\"other\""]) as u64, 0);
    assert_eq!(ready(&proxy).0, 503);
    let _back = restart(dead.address);
    wait_ready(&proxy, 200);
}
