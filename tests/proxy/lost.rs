//! Sessions whose broker is down or was removed: they end at the pool's rate, the oldest first.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{CONNACK_V5, Client, connect},
    config::Config,
    harness::{Proxy, end, run, wait_for},
    routing::{brokers, ids, route},
};

/// Sets a broker down, or ready again.
#[track_caller]
fn ctl(proxy: &Proxy, command: &str, broker: &str) {
    let admin = format!("http://{}", proxy.admin());
    let output = run(&["ctl", "--admin", &admin, command, broker], "");
    assert!(output.status.success(), "{output:?}");
}

/// The IDs of clients that belong to a broker.
fn ids_of(proxy: &Proxy, broker: &str) -> Vec<String> {
    let routes = ids().into_iter().zip(route(proxy, &[], &ids()));
    routes.filter(|(_, order)| order[0] == broker).map(|(id, _)| id).collect()
}

fn session(proxy: &Proxy, id: &str) -> Client {
    Client::exchange(proxy.address(), &connect(5, id), CONNACK_V5)
}

/// `lose` takes b2 away from a proxy that was configured by what it is given.
#[track_caller]
fn end_paced(cause: &str, lose: impl Fn(&Proxy, &dyn Fn(Config) -> Config, &Broker)) {
    const RATE: u32 = 25;
    const SESSIONS: usize = 45;
    let [b1, b2] = brokers();
    let paced = |config: Config| config.pool(&format!("rebalance: {{ rate: {RATE} }}"));
    let proxy = paced(Config::of([&b1, &b2])).start();
    let (stay, go) = (ids_of(&proxy, "b1"), ids_of(&proxy, "b2"));
    let mut staying: Vec<_> = stay.iter().take(20).map(|id| session(&proxy, id)).collect();
    let going: Vec<_> = go.iter().take(SESSIONS).map(|id| session(&proxy, id)).collect();
    let began = Instant::now();
    lose(&proxy, &paced, &b1);
    let ends = proxy.wait_ends(SESSIONS);
    // That many pauses. They cannot have been shorter.
    let least = Duration::from_secs(1) / RATE * (SESSIONS as u32 - 1);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    let order: Vec<_> = ends.iter().map(|line| line["client_id"].as_str().unwrap()).collect();
    assert_eq!(order, go[..SESSIONS]);
    assert!(ends.iter().all(|line| end(line) == format!("proxy/relay/{cause}")));
    for mut client in going {
        assert_eq!(client.rest(), (b"\xE0\x01\x9C".to_vec(), Ok(())));
    }
    for client in &mut staying {
        client.echo(b"\xC0\x00");
    }
    assert_eq!(proxy.wait_ends(SESSIONS).len(), SESSIONS);
}

#[test]
fn sessions_of_a_broker_that_is_down() {
    end_paced("down", |proxy, _, _| ctl(proxy, "down", "b2"));
}

#[test]
fn sessions_of_a_removed_broker() {
    end_paced("removed", |proxy, paced, left| {
        fs::write(proxy.config_file(), paced(Config::of([left])).text()).unwrap();
        proxy.signal(Signal::HUP);
        proxy.wait_stderr("b2 removed");
    });
}

/// Those whose turn has not come stay; who is younger, on a broker that is still down, goes before.
#[test]
fn a_broker_that_comes_back() {
    let [b1, b2, b3] = brokers();
    let config = Config::of([&b1, &b2, &b3]).pool("rebalance: { rate: 1 }");
    let proxy = config.start();
    let (older, younger) = (ids_of(&proxy, "b2"), ids_of(&proxy, "b3"));
    let mut there: Vec<_> = older.iter().take(12).map(|id| session(&proxy, id)).collect();
    let _younger: Vec<_> = younger.iter().take(2).map(|id| session(&proxy, id)).collect();
    ctl(&proxy, "down", "b2");
    proxy.wait_ends(1);
    ctl(&proxy, "down", "b3");
    ctl(&proxy, "ready", "b2");
    let ended = wait_for("those of b3", || {
        let ends = proxy.wait_ends(1);
        ends.iter().any(|line| line["client_id"] == *younger[0]).then_some(ends)
    });
    let before = ended.iter().filter(|line| line["upstream"] == "b2").count();
    assert!(before < there.len() / 2, "{before}");
    for client in &mut there[before..] {
        client.echo(b"\xC0\x00");
    }
    let gone: Vec<_> = ended.iter().map(|line| line["client_id"].as_str().unwrap()).collect();
    assert_eq!(gone[..before], older[..before]);
}

/// One pool's pace is not another's.
#[test]
fn pools_do_not_wait_for_each_other() {
    let [slow, fast] = brokers();
    let config = Config::of([&slow]).pool("rebalance: { rate: 1 }");
    let text = config.another_listener("name: other").text();
    let second = format!(
        "pools:\n  - name: second\n    upstreams: [ {{ name: s1, address: \"{}\" }} ]\n",
        fast.address
    );
    let text = text.replace("pools:\n", &second);
    let text = text.replace("pool: brokers, name: other", "pool: second, name: other");
    let proxy = Proxy::start(&text);
    let _slow: Vec<_> = (0..30).map(|n| session(&proxy, &format!("slow-{n}"))).collect();
    let other = proxy.address_of("other");
    let fast: Vec<_> = (0..30).map(|n| Client::session(other, &format!("fast-{n}"))).collect();
    for broker in ["b1", "s1"] {
        ctl(&proxy, "down", broker);
    }
    for mut client in fast {
        client.expect_end();
    }
    let slow = proxy.wait_ends(31).iter().filter(|line| line["pool"] == "brokers").count();
    assert!(slow < 15, "{slow} of the slow pool, at one a second");
}
