//! How much of the load a broker is given: its share, and so many CONNECTs a second.

use std::thread;

use serde_json::Value;

use crate::{
    broker::Broker,
    client::{Client, connack, connect},
    config::Config,
    harness::{end, wait_for},
    routing::{brokers, ids, route},
};

#[test]
fn bounded_load() {
    let brokers = brokers::<3>();
    let mut config = Config::of(&brokers).pool("balance: { bounded_load: 1.25 }");
    config.upstreams[1] = config.upstreams[1].replace(" }", ", weight: 2 }");
    let proxy = config.start();
    let ids = &ids()[..120];
    let orders = route(&proxy, &[], ids);
    let weights = [1.0, 2.0, 1.0];
    let mut sessions = [0.0; 3];
    let mut held = Vec::new();
    let mut bounded = 0;
    // Those of one broker first, which would be all on it.
    let mut clients: Vec<_> = ids.iter().zip(&orders).collect();
    clients.sort_by_key(|(_, order)| &order[0]);
    for (id, order) in clients {
        held.push(Client::session(proxy.address(), id));
        let total = sessions.iter().sum::<f64>() + 1.0;
        let index = |name: &String| name[1..].parse::<usize>().unwrap() - 1;
        let room = |name: &&String| {
            let most = (1.25 * total * weights[index(name)] / 4.0_f64).ceil();
            sessions[index(name)] < most
        };
        let wanted = order.iter().find(room).unwrap();
        let line = proxy.wait_connected(id);
        assert_eq!(line["upstream"], **wanted, "{id}: {sessions:?}");
        let way = if wanted == &order[0] { "hash" } else { "bounded" };
        assert_eq!((&line["route"], &line["tries"]), (&way.into(), &1.into()));
        bounded += usize::from(way == "bounded");
        sessions[index(wanted)] += 1.0;
    }
    assert!(bounded > 10, "{bounded}");
}

/// A broker that may not have more is still better than none.
#[test]
fn a_bound_refuses_nobody() {
    let mut brokers = brokers::<2>();
    let proxy = Config::of(&brokers)
        .pool("balance: { bounded_load: 1.01 }")
        .pool("health: { passive: { failures: 0 } }")
        .start();
    brokers[1].stop();
    let _held: Vec<_> = ids()[..20].iter().map(|id| Client::session(proxy.address(), id)).collect();
    assert_eq!(brokers[0].connections(), 20);
}

#[test]
fn admission_is_a_queue() {
    let broker = Broker::echoing();
    let line = "admission: { rate: 50, burst: 5, max_wait: 30s }";
    let proxy = Config::of([&broker]).pool(line).workers(2).start();
    let ids: Vec<_> = (0..40).map(|n| format!("storm-{n}")).collect();
    let clients: Vec<_> = ids
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
    let lines: Vec<_> = ids.iter().map(|id| proxy.wait_end(id)).collect();
    let waited = lines.iter().filter(|line| line["queue_ms"].as_f64().is_some()).count();
    // The bucket may have gained a little while the first came.
    assert!((20..=35).contains(&waited), "{waited}");
    assert!(lines.iter().all(|line| line["tries"] == 1 && line["event"] == "disconnect"));
    assert_eq!(proxy.metric("mqtt_lb_admission_wait_seconds_count", &[]) as u64, 40);
    assert_eq!(proxy.metric("mqtt_lb_admission_waiting", &[]) as u64, 0);
}

#[test]
fn admission_that_comes_too_late() {
    let broker = Broker::echoing();
    let line = "admission: { rate: 1, burst: 1, max_wait: 100ms }";
    let proxy = Config::of([&broker]).pool(line).start();
    let _first = Client::session(proxy.address(), "first");
    for (version, code) in [(4, 3), (5, 0x9F)] {
        // A token comes each second: who gets that one is not refused.
        let id = wait_for("a refusal", || {
            let id = format!("late-{version}-{}", broker.connections());
            let mut client = Client::open(proxy.address());
            client.send(&connect(version, &id));
            let mut answer = connack(version, 0);
            std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
            (answer == connack(version, code)).then_some(id)
        });
        let line = proxy.wait_end(&id);
        assert_eq!((&line["event"], &*end(&line)), (&"reject".into(), "proxy/dial/limit"));
        assert_eq!((&line["tries"], &line["upstream"]), (&Value::Null, &Value::Null));
        assert!(line["queue_ms"].as_f64().unwrap() >= 100.0, "{line}");
        assert_eq!(line["detail"], "not admitted to b1 within admission.max_wait");
    }
}

/// Who leaves the queue does not use up a turn, and who waits at a broker that fails goes elsewhere.
#[test]
fn leaving_the_queue() {
    let broker = Broker::echoing();
    let line = "admission: { rate: 1, burst: 1, max_wait: 60s }";
    let proxy = Config::of([&broker]).pool(line).start();
    let _first = Client::session(proxy.address(), "first");
    let impatient: Vec<_> = (0..50)
        .map(|n| {
            let mut client = Client::open(proxy.address());
            client.send(&connect(4, &format!("impatient-{n}")));
            client
        })
        .collect();
    wait_for("the queue", || (proxy.metric("mqtt_lb_admission_waiting", &[]) > 45.0).then_some(()));
    thread::scope(|scope| {
        let patient = scope.spawn(|| Client::session(proxy.address(), "patient"));
        impatient.into_iter().for_each(Client::reset);
        // Not after the fifty seconds that they would have taken.
        patient.join().unwrap();
    });
    let ends = proxy.wait_ends(45);
    assert!(ends.iter().any(|line| end(line) == "client/dial/reset"), "{ends:?}");
    proxy.wait_metric("mqtt_lb_admission_waiting", &[], 0.0);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 1.0);
}
