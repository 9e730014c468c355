//! Fewer descriptors than clients.

use std::{process::Command, thread, time::Duration};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, wait_for},
};

/// Starts the proxy with so few descriptors that it cannot raise them.
pub(crate) fn start_with_descriptors(count: u32, config: &Config) -> Proxy {
    Proxy::start_in(tempfile::tempdir().unwrap(), &config.text(), |program| {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(program);
        shell
    })
}

#[test]
fn a_shortage_is_waited_out() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("limits: { max_connections: 100000 }");
    let proxy = start_with_descriptors(100, &config);
    let kind = &["kind=\"process_descriptors\""];
    let mut early = Client::session(proxy.address(), "early");
    let metrics = proxy.get("/livez");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");

    let flood: Vec<_> = (0..200).map(|_| Client::open(proxy.address())).collect();
    proxy.wait_stderr("cannot accept");
    // Who is in is served as before, and waiting costs no more than a look now and then.
    let before = proxy.processor_ticks();
    thread::sleep(Duration::from_secs(1));
    early.echo(b"\xC0\x00");
    let ticks = proxy.processor_ticks() - before;
    assert!(ticks < 30, "{ticks} of 100 ticks spent on waiting");
    let shouted = proxy.stderr().iter().filter(|line| line.contains("cannot accept")).count();
    assert!(shouted < 5, "{shouted} lines about it");

    drop(flood);
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "late"));
    client.expect(CONNACK_V3);
    client.echo(b"\xC0\x00");
    early.echo(b"\xC0\x00");
    let errors = wait_for("the count", || {
        let errors = proxy.metric("mqtt_lb_accept_errors_total", kind);
        (errors > 5.0).then_some(errors)
    });
    assert!(errors < 2000.0, "{errors} failed calls");
}

/// Without a limit in the file, the descriptors set one that leaves room to answer.
#[test]
fn the_limit_that_descriptors_set() {
    let broker = Broker::echoing();
    let proxy = start_with_descriptors(196, &Config::of([&broker]));
    // 176 are kept for other things; each session takes two of the other 20.
    let held: Vec<_> =
        (0..10).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    Client::exchange(proxy.address(), &connect(5, "over"), b"\x20\x03\x00\x97\x00").expect_end();
    assert_eq!(proxy.metric("mqtt_lb_accept_errors_total", &[]) as u64, 0);
    drop(held);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    Client::session(proxy.address(), "after").echo(b"\xC0\x00");
}
