//! What a proxy that is being stopped still does.

use std::fs;

use rustix::process::Signal;

use super::http::{ask, get};
use crate::{
    broker::Broker,
    client::{CONNACK_V5, Client, connect},
    config::Config,
    harness::{end, json_lines, wait_for},
};

#[test]
fn asked_and_steered_until_its_end() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).workers(2).more("drain: { timeout: 60m }").start();
    let session = |id: &str| Client::exchange(proxy.address(), &connect(5, id), CONNACK_V5);
    let [mut kicked, mut stays, leaves] = ["kicked", "stays", "leaves"].map(session);
    for id in ["kicked", "stays", "leaves"] {
        proxy.wait_connected(id);
    }
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");

    proxy.signal(Signal::HUP);
    proxy.wait_stderr("SIGHUP: not reloaded: draining");
    let told = ask(&proxy, "POST", "/api/v1/reload", "", "");
    let error = "the proxy is shutting down; reloads are no longer possible";
    assert_eq!((told.status, &*told.error()), (409, error));
    assert!(!proxy.stderr().iter().any(|line| line.contains("reloading")));
    proxy.wait_metric("mqtt_lb_config_reloads_total", &[], 0.0);

    let status = get(&proxy, "/api/v1/status");
    assert_eq!((&status["ready"], &status["not_ready"]), (&false.into(), &"draining".into()));
    assert_eq!(status["connections_open"], 3);
    let found = get(&proxy, "/api/v1/sessions");
    let found = found["sessions"].as_array().unwrap();
    assert_eq!(found.len(), 3);
    let it = found.iter().find(|session| session["client_id"] == "kicked").unwrap();
    let target = format!("/api/v1/sessions/{}", it["id"].as_str().unwrap());
    assert_eq!(ask(&proxy, "DELETE", &target, "", "").status, 204);
    assert_eq!(kicked.rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    assert_eq!(end(&proxy.wait_end("kicked")), "proxy/relay/kicked");

    let (log, rotated) = (proxy.path("access.log"), proxy.path("access.log.1"));
    fs::rename(&log, &rotated).unwrap();
    proxy.signal(Signal::USR1);
    wait_for("the new file", || log.exists().then_some(()));
    drop(leaves);
    assert_eq!(end(&proxy.wait_end("leaves")), "client/relay/closed");
    assert_eq!(json_lines(&rotated).len(), 4);

    stays.echo(b"\xC0\x00");
    proxy.signal(Signal::TERM);
    assert_eq!(stays.rest(), (b"\xE0\x01\x8B".to_vec(), Ok(())));
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert_eq!(end(&proxy.wait_end("stays")), "proxy/relay/drain");
    assert_eq!(json_lines(&log).len(), 2);
}
