//! Clients that wait in a broker's admission queue while the rules, the pools or the bans change.

use crate::{
    bans::ban,
    broker::Broker,
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    harness::{Proxy, end, wait_for},
    reload::take,
};

/// Clients that wait, behind one whose session has begun.
const WAITING: usize = 20;

/// A pool whose broker admits one client a second, with `WAITING` clients in its queue.
fn queue(config: &Config) -> (Proxy, Vec<Client>) {
    let admission = "admission: { rate: 1, burst: 1, max_wait: 300s }";
    let proxy = config.clone().workers(2).pool(admission).start();
    let _first = Client::session(proxy.address(), "first");
    let open = |n: usize| {
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, &format!("c{n}")));
        client
    };
    let clients = (0..WAITING).map(open).collect();
    wait_for("the queue", || (waiting(&proxy) >= WAITING - 5).then_some(()));
    (proxy, clients)
}

fn waiting(proxy: &Proxy) -> usize {
    proxy.metric("mqtt_lb_admission_waiting", &[]) as usize
}

/// The brokers that the clients in the queue were sent to, once all have connected.
fn brokers(proxy: &Proxy, clients: &mut [Client]) -> Vec<String> {
    for client in clients.iter_mut() {
        client.expect(CONNACK_V3);
    }
    let line = |n| proxy.wait_connected(&format!("c{n}"));
    (0..WAITING).map(|n| line(n)["upstream"].as_str().unwrap().to_owned()).collect()
}

/// Those whose turn has not come yet go to the other broker at once, and none is moved later.
fn assert_followed(proxy: &Proxy, clients: &mut [Client], (before, after): (&Broker, &Broker)) {
    let brokers = brokers(proxy, clients);
    let moved = brokers.iter().filter(|broker| **broker != "b1").count();
    assert!(moved >= WAITING / 2, "{brokers:?}");
    assert_eq!((before.connections(), after.connections()), (1 + WAITING - moved, moved));
}

#[test]
fn a_pool_that_is_removed() {
    let (before, after) = (Broker::echoing(), Broker::echoing());
    let (proxy, mut clients) = queue(&Config::of([&before]));
    let other = Config::of([&after]).workers(2).text();
    let other =
        other.replace("name: brokers", "name: other").replace("pool: brokers", "pool: other");
    let other = other.replace("name: b1", "name: b2");
    std::fs::write(proxy.config_file(), other).unwrap();
    proxy.signal(rustix::process::Signal::HUP);
    assert_followed(&proxy, &mut clients, (&before, &after));
}

#[test]
fn a_rule_that_is_added_and_one_that_is_raised() {
    let (before, after) = (Broker::echoing(), Broker::echoing());
    let config = Config::of([&before]).another_pool("other", &after, "");
    for first in ["", "{ name: go, when: { percent: 0 }, pool: other }"] {
        let (counts_before, counts_after) = (before.connections(), after.connections());
        let (proxy, mut clients) = queue(&config.clone().listener(&format!("rules: [{first}]")));
        let admission = "admission: { rate: 20, burst: 1, max_wait: 300s }";
        let config = config.clone().workers(2).pool(admission);
        let rule = "rules: [{ name: go, when: { percent: 100 }, pool: other }]";
        take(&proxy, &config.listener(rule));
        let brokers = brokers(&proxy, &mut clients);
        let moved = brokers.iter().filter(|broker| **broker == "other").count();
        assert!(moved >= WAITING / 2, "{brokers:?}");
        assert_eq!(before.connections() - counts_before, 1 + WAITING - moved);
        assert_eq!(after.connections() - counts_after, moved);
        proxy.wait_metric("mqtt_lb_rules_total", &["rule=\"go\""], moved as f64);
    }
}

#[test]
fn a_rule_that_refuses() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]);
    let (proxy, mut clients) = queue(&config);
    let admission = "admission: { rate: 20, burst: 1, max_wait: 300s }";
    let rule = "rules: [{ name: no, when: { client_id: \"c*\" }, refuse: not_authorized }]";
    take(&proxy, &config.workers(2).pool(admission).listener(rule));
    let last = clients.last_mut().unwrap();
    last.expect(&connack(4, 5));
    last.expect_end();
    let line = proxy.wait_end(&format!("c{}", WAITING - 1));
    assert_eq!((end(&line), &line["rule"]), ("proxy/connect/refused".to_owned(), &"no".into()));
    assert!(broker.connections() <= 1 + WAITING / 2);
}

/// A banned client does not keep its place.
#[test]
fn a_client_that_is_banned() {
    let broker = Broker::echoing();
    let (proxy, mut clients) = queue(&Config::of([&broker]));
    ban(&proxy, "client_id", &format!("c{}", WAITING - 1), 600);
    let mut banned = clients.pop().unwrap();
    banned.expect(&connack(4, 5));
    banned.expect_end();
    let others = waiting(&proxy);
    assert!(others > 0 && others < WAITING, "{others}");
    let line = proxy.wait_end(&format!("c{}", WAITING - 1));
    assert_eq!(end(&line), "proxy/connect/banned");
    assert_eq!((&line["tries"], line["queue_ms"].is_number()), (&serde_json::Value::Null, true));
    proxy.wait_metric("mqtt_lb_banned_refused_total", &["kind=\"client_id\""], 1.0);

    // An address is closed in the queue as well.
    ban(&proxy, "ip", "127.0.0.1", 600);
    for client in &mut clients {
        let _ = client.rest();
    }
    wait_for("the queue to be empty", || (waiting(&proxy) == 0).then_some(()));
    assert!(broker.connections() <= WAITING / 2);
}
