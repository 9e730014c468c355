//! What checks and clients have found of brokers survives an upgrade.

use std::net::TcpListener;

use super::NewProcess;
use crate::{
    admin::ctl::json_of,
    broker::{Broker, echo},
    client::{Client, connect},
    config::Config,
    harness::{Proxy, wait_for},
};

/// The status of the only pool's brokers, in the order of their names.
fn statuses(proxy: &Proxy) -> Vec<String> {
    let said = json_of(proxy, &["upstreams"]);
    let upstreams = said["pools"][0]["upstreams"].as_array().unwrap();
    let status = |it: &serde_json::Value| it["status"].as_str().unwrap().to_owned();
    upstreams.iter().map(status).collect()
}

/// An address where nobody listens.
fn refusing() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn an_ejection() {
    let broker = Broker::echoing();
    let addresses = [broker.address.to_string(), refusing().to_string()];
    let passive = "health: { passive: { failures: 1, eject_for: 1h } }";
    let proxy = Config::at(addresses).pool(passive).start();
    let mut n = 0;
    wait_for("the ejection", || {
        n += 1;
        Client::session(proxy.address(), &format!("c{n}")).echo(b"\xC0\x00");
        (statuses(&proxy) == ["up", "ejected"]).then_some(())
    });
    let mut new = NewProcess::of(&proxy);
    assert_eq!(statuses(&proxy), ["up", "ejected"]);
    new.next(&proxy);
    assert_eq!(statuses(&proxy), ["up", "ejected"]);
}

/// The new process knows at once that the pool serves nobody, and finds out when it does.
#[test]
fn an_outage() {
    let address = refusing();
    let proxy = Config::at([address.to_string()]).start();
    wait_for("the outage", || {
        Client::open(proxy.address()).send(&connect(4, "refused"));
        (statuses(&proxy) == ["failing"]).then_some(())
    });
    let _new = NewProcess::of(&proxy);
    assert_eq!(statuses(&proxy), ["failing"]);
    let broker = Broker::start_on(TcpListener::bind(address).unwrap(), echo);
    wait_for("the end of the outage", || (statuses(&proxy) == ["up"]).then_some(()));
    Client::session(proxy.address(), "served").echo(b"\xC0\x00");
    drop(broker);
}
