//! After a reload the proxy is what a fresh start with the same file would be: nothing that a
//! setting asked for outlives it, and nobody who waits is forgotten.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{says, take};
use crate::{
    broker::{Broker, Link, echo},
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, wait_for},
    routing::{brokers, ids, route},
};

const WAITING: &str = "mqtt_lb_admission_waiting";

/// Clients that have sent their CONNECTs, none of which has been answered for yet.
fn connecting(proxy: &Proxy, count: usize) -> Vec<Client> {
    let open = |n| {
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, &format!("queued-{n}")));
        client
    };
    (0..count).map(open).collect()
}

/// What a reload changes, given the address of another broker.
type Change = fn(&mut Config, &str);

/// Whatever a reload changes about a pool, those who queue for admission are let in.
#[test]
fn who_queues_at_a_reload_is_let_in() {
    const CLIENTS: usize = 37;
    let cases: [(&str, Change); 6] = [
        ("a key that is not the queue's", |config, _| {
            config.pool.push("connect_timeout: 1700ms".into());
        }),
        ("a higher rate", |config, _| {
            config.pool[0] = "admission: { rate: 900, burst: 3, max_wait: 25s }".into();
        }),
        ("no admission", |config, _| config.pool.clear()),
        ("another address", |config, other| {
            config.upstreams = vec![format!("{{ name: b1, address: \"{other}\" }}")];
        }),
        ("another broker", |config, other| {
            config.upstreams = vec![format!("{{ name: b9, address: \"{other}\" }}")];
        }),
        ("nothing", |_, _| {}),
    ];
    let check = |(what, change): (&str, Change)| {
        let [first, other] = brokers();
        let mut config =
            Config::of([&first]).pool("admission: { rate: 8, burst: 3, max_wait: 25s }").workers(2);
        let proxy = config.start();
        let mut clients = connecting(&proxy, CLIENTS);
        wait_for(what, || (proxy.metric(WAITING, &[]) >= 30.0).then_some(()));
        change(&mut config, &other.address.to_string());
        take(&proxy, &config);
        let at_reload = first.connections();
        for client in &mut clients {
            client.expect(CONNACK_V3);
        }
        assert!(proxy.metric(WAITING, &[]) < 0.5, "{what}");
        if what.starts_with("another") {
            // The token of one that was on its way to the old one at that moment is the only other.
            assert!(first.connections() <= at_reload + 3, "{what}: {}", first.connections());
            assert!(other.connections() >= 30, "{what}: {}", other.connections());
        }
    };
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

#[test]
fn what_a_check_found_goes_with_the_check() {
    let failing = Broker::start(|mut link: Link| {
        let _ = link.stream.read(&mut [0; 1024]);
        link.send(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n");
    });
    let [b1, b2] = brokers();
    let health = format!(
        "health: {{ active: {{ type: http, port: {}, interval: 100ms, fall: 2 }}, \
         fail_open_percent: 0 }}",
        failing.address.port()
    );
    let mut config = Config::of([&b1, &b2]).pool(&health);
    let proxy = config.start();
    proxy.wait_metric("mqtt_lb_upstream_up", &[], 0.0);
    Client::exchange(proxy.address(), &connect(4, "refused"), b"\x20\x02\x00\x03").expect_end();
    config.pool.clear();
    take(&proxy, &config);
    proxy.wait_metric("mqtt_lb_upstream_up", &[], 2.0);
    for id in &ids()[..20] {
        Client::session(proxy.address(), id);
    }
}

#[test]
fn another_threshold_holds_at_once() {
    let [b1] = brokers();
    let health = |percent: u32| {
        format!(
            "health: {{ active: {{ type: tcp, interval: 100ms, fall: 1 }}, \
             fail_open_percent: {percent} }}"
        )
    };
    // One of two is down: half of them are enough, or they are not.
    let dead = "127.0.0.1:1".to_owned();
    let mut config = Config::at([b1.address.to_string(), dead]).pool(&health(90));
    let proxy = config.start();
    let failing_open = |wanted| proxy.wait_metric("mqtt_lb_pool_failing_open", &[], wanted);
    proxy.wait_metric("mqtt_lb_upstream_up", &[], 1.0);
    failing_open(0.0);
    for (percent, wanted) in [(50, 1.0), (51, 0.0)] {
        config.pool[0] = health(percent);
        take(&proxy, &config);
        failing_open(wanted);
    }
}

/// A broker that resets its clients for as long as it is `bad`.
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

#[test]
fn an_ejection_goes_with_the_setting_also_while_a_trial_has_failed() {
    for is_half_open in [false, true] {
        let bad = Arc::new(AtomicBool::new(true));
        let (moody, good) = (moody(&bad), Broker::echoing());
        let eject_for = if is_half_open { "200ms" } else { "1h" };
        let passive = format!("health: {{ passive: {{ failures: 1, eject_for: {eject_for} }} }}");
        let mut config = Config::of([&moody, &good]).pool(&passive);
        let proxy = config.start();
        let orders = route(&proxy, &[], &ids());
        let of_moody: Vec<_> =
            ids().into_iter().zip(orders).filter(|(_, order)| order[0] == "b1").collect();
        Client::session(proxy.address(), &of_moody[0].0);
        proxy.wait_stderr("ejected for");
        if is_half_open {
            // The next one is its trial, which fails.
            wait_for("a second ejection", || {
                Client::session(proxy.address(), &of_moody[1].0);
                (proxy.metric("mqtt_lb_upstream_ejections_total", &[]) >= 2.0).then_some(())
            });
        }
        config.pool[0] = "health: { passive: { failures: 0 } }".into();
        take(&proxy, &config);
        bad.store(false, Ordering::SeqCst);
        for (id, _) in &of_moody[2..8] {
            Client::session(proxy.address(), id);
            assert_eq!(proxy.wait_end(id)["upstream"], "b1");
        }
    }
}

/// A shorter ejection holds for one that is under way.
#[test]
fn an_ejection_lasts_as_long_as_the_file_says_now() {
    let bad = Arc::new(AtomicBool::new(true));
    let (moody, good) = (moody(&bad), Broker::echoing());
    let passive =
        |span: &str| format!("health: {{ passive: {{ failures: 1, eject_for: {span} }} }}");
    let mut config = Config::of([&moody, &good]).pool(&passive("2h"));
    let proxy = config.start();
    wait_for("an ejection", || {
        ids().iter().take(20).for_each(|id| drop(Client::session(proxy.address(), id)));
        (proxy.metric("mqtt_lb_upstream_up", &["\"b1\""]) < 0.5).then_some(())
    });
    bad.store(false, Ordering::SeqCst);
    config.pool[0] = passive("100ms");
    take(&proxy, &config);
    wait_for("its return", || {
        ids().iter().take(20).for_each(|id| drop(Client::session(proxy.address(), id)));
        (proxy.metric("mqtt_lb_upstream_up", &["\"b1\""]) > 0.5).then_some(())
    });
}

/// A pool that goes and comes back is the same to the sessions that stayed, to its counters, and to
/// what rebalances them.
#[test]
fn a_pool_that_comes_back_has_its_sessions_and_its_metrics() {
    let [home, first, second] = brokers();
    let text = |pools: &str, listener: &str| {
        format!(
            "runtime: {{ workers: 1 }}\n\
             listeners: [ {{ name: mqtt, bind: \"127.0.0.1:0\", pool: p }}{listener} ]\n\
             pools: [ {{ name: p, upstreams: [ {{ name: h, address: \"{}\" }} ] }}{pools} ]\n\
             access_log: [ {{ path: access.log, format: json }} ]\n\
             admin: {{ bind: \"127.0.0.1:0\" }}\n",
            home.address
        )
    };
    let listener = ", { name: q, bind: \"127.0.0.1:0\", pool: q }";
    let one = format!("{{ name: b1, address: \"{}\" }}", first.address);
    let two = format!("{one}, {{ name: b2, address: \"{}\" }}", second.address);
    let q = |brokers: &str, keys: &str| {
        format!(", {{ name: q, on_down: keep{keys}, upstreams: [ {brokers} ] }}")
    };
    let proxy = Proxy::start(&text(&q(&one, ""), listener));
    let ids = &ids()[..40];
    let mut there: Vec<_> =
        ids.iter().map(|id| Client::session(proxy.address_of("q"), id)).collect();
    let samples = || {
        let metrics = proxy.get("/metrics");
        metrics.lines().filter(|line| line.contains("pool=\"q\"")).count()
    };
    let accepted =
        || proxy.metric("mqtt_lb_upstream_tries_total", &["\"q\"", "\"b1\"", "accepted"]);
    let before = samples();
    assert!(before > 20, "{before} samples");
    says(&super::reload(&proxy, &text("", "")), "pool q: removed");
    for client in &mut there {
        client.echo(b"\xC0\x00");
    }
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &["\"q\""], 40.0);

    let said = super::reload(&proxy, &text(&q(&two, ", rebalance: { rate: 1000 }"), listener));
    says(&said, "pool q: added");
    assert!(samples() >= before, "{} of {before} samples", samples());
    assert!((accepted() - 40.0).abs() < 0.5, "{} accepted", accepted());
    // Those who belong to the new broker are sent there, by the settings as they are now.
    let config = proxy.config_file();
    let args = ["route", "-c", &config, "--pool", "q", "-"];
    let said = crate::harness::run(&args, &ids.join("\n"));
    let said = String::from_utf8(said.stdout).unwrap();
    let moving = said.lines().filter(|line| line.split_whitespace().nth(1) == Some("b2")).count();
    assert!(moving > 8, "{moving} belong to the new broker: {said}");
    let ends = proxy.wait_ends(moving);
    assert!(ends.iter().all(|line| line["end_cause"] == "rebalance"), "{ends:#?}");
    assert_eq!(ends.len(), moving);
}
