//! The program's own log while nobody reads standard error.

use std::fs;

use rustix::process::Signal;

use crate::{
    admin::http::get,
    broker::Broker,
    client::Client,
    config::Config,
    harness::{Proxy, wait_for},
    health::UP,
    routing::{brokers, ids, route},
};

const DROPPED: &str = "mqtt_lb_program_log_dropped_total";

/// What stands where lines are missing.
const GAP: &str = "lines of this log could not be written";

fn reloads(proxy: &Proxy, outcome: &str) -> usize {
    proxy.metric("mqtt_lb_config_reloads_total", &[&format!("outcome=\"{outcome}\"")]) as usize
}

/// Has it log more than the pipe and its own memory hold: every key is a fault, and so a line.
fn fill(proxy: &Proxy) {
    let faulty: Vec<_> = (0..1700).map(|n| format!("no-such-key-{n}: {n}\n")).collect();
    fs::write(proxy.config_file(), faulty.concat()).unwrap();
    let before = proxy.metric(DROPPED, &[]);
    wait_for("lines to be dropped", || {
        let refused = reloads(proxy, "refused");
        proxy.signal(Signal::HUP);
        wait_for("the refusal", || (reloads(proxy, "refused") > refused).then_some(()));
        (proxy.metric(DROPPED, &[]) > before + 700.0).then_some(())
    });
}

/// How many lines are said to be missing, gap by gap.
fn gaps(proxy: &Proxy) -> Vec<usize> {
    let lines = proxy.stderr();
    let told = lines.iter().filter(|line| line.contains(GAP));
    told.map(|line| line.rsplit_once("lines=").unwrap().1.parse().unwrap()).collect()
}

fn two_that_are_checked(brokers: &[Broker; 2]) -> Config {
    let mut config = Config::of(brokers)
        .pool("health: { active: { type: tcp, interval: 150ms, fall: 2 } }")
        .pool("admission: { rate: 60, burst: 2, max_wait: 30s }")
        .more("drain: { timeout: 300ms }")
        .workers(2);
    config.log_level = "debug";
    config
}

#[test]
fn nothing_waits_for_a_reader_that_has_stopped() {
    let mut brokers = brokers();
    let config = two_that_are_checked(&brokers);
    let mut proxy = config.start();
    let orders = route(&proxy, &[], &ids());
    let at_b2 = ids().into_iter().zip(orders).find(|(_, order)| order[0] == "b2").unwrap().0;
    let mut there = Client::session(proxy.address(), &at_b2);
    let reading = proxy.reading.clone();
    let unread = reading.lock().unwrap();
    fill(&proxy);
    there.echo(b"\xC0\x00");

    // The checks, and what they have to say.
    brokers[0].stop();
    proxy.wait_metric(UP, &["upstream=\"b1\""], 0.0);
    there.echo(b"\xC0\x00");

    // The queue before a broker, and the workers.
    let clients: Vec<_> =
        (0..23).map(|n| Client::session(proxy.address(), &format!("later-{n}"))).collect();
    let labels = ["upstream=\"b2\"", "outcome=\"accepted\""];
    let accepted = proxy.metric("mqtt_lb_upstream_tries_total", &labels) as usize;
    assert_eq!(accepted, 1 + clients.len());

    // Reloads: level and limits included.
    let before = proxy.metric(DROPPED, &[]);
    let text = config.text() + "limits: { connect_packet: 2KiB }\n";
    fs::write(proxy.config_file(), text).unwrap();
    proxy.signal(Signal::HUP);
    wait_for("the reload", || (reloads(&proxy, "applied") == 1).then_some(()));
    proxy.signal(Signal::USR1);
    there.echo(b"\xC0\x00");
    wait_for("its lines to be dropped", || (proxy.metric(DROPPED, &[]) > before).then_some(()));

    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    // In all this no line has left the proxy.
    drop(unread);
    assert!(!proxy.stderr().iter().any(|line| line.contains(GAP)));
}

#[test]
fn a_reader_that_returns_is_told_how_much_is_missing_and_where() {
    let brokers = brokers();
    let mut proxy = two_that_are_checked(&brokers).start();
    let reading = proxy.reading.clone();
    for round in 1..=2 {
        let unread = reading.lock().unwrap();
        fill(&proxy);
        drop(unread);
        wait_for("the gap to be told of", || (gaps(&proxy).len() == round).then_some(()));
        let dropped = proxy.metric(DROPPED, &[]) as usize;
        assert_eq!(gaps(&proxy).iter().sum::<usize>(), dropped, "round {round}");
    }
    proxy.signal(Signal::USR1);
    proxy.wait_stderr("SIGUSR1");
    // What was read and what was dropped are all that there was: each line has a number there.
    let dropped = proxy.metric(DROPPED, &[]) as usize;
    let all = || get(&proxy, "/api/v1/log?after=18446744073709551615")["last"].as_u64().unwrap();
    wait_for("every line", || (proxy.stderr().len() + dropped == all() as usize).then_some(()));
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.wait_stderr("all sessions have ended");
}
