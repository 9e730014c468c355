//! What is held to be no pool that serves nobody, or not any more.

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    harness::wait_for,
    routing::{brokers, ids, route},
    serves_nobody::{EJECTIONS, SERVING, api, lines, ready, refuse, restart, wait_ready},
};

/// A pool that has had no client yet serves, unless its checks say otherwise.
#[test]
fn checks_of_a_pool_without_clients() {
    let mut brokers = brokers::<2>();
    brokers.iter_mut().for_each(Broker::stop);
    let unchecked = Config::of(&brokers).start();
    let check = "health: { active: { type: tcp, interval: 100ms, timeout: 1s, fall: 1, rise: 1 } }";
    let proxy = Config::of(&brokers).pool(check).start();
    let reason = wait_ready(&proxy, 503);
    let why = "pool brokers serves nobody: the checks of all its brokers fail";
    assert_eq!(reason, format!("not ready: {why}\n"));
    assert_eq!(proxy.metric(SERVING, &[]) as u64, 0);
    let _back = restart(brokers[0].address);
    wait_ready(&proxy, 200);
    assert_eq!(proxy.metric(SERVING, &[]) as u64, 1);
    assert_eq!((ready(&unchecked).0, lines(&unchecked, "serves nobody")), (200, vec![]));
}

/// Brokers without room, and brokers that an operator has taken out, do serve or are not asked to.
#[test]
fn limits_and_the_operator_are_no_outage() {
    let mut brokers = brokers::<2>();
    let mut config = Config::of(&brokers);
    config.upstreams[0] = config.upstreams[0].replace(" }", ", max_connections: 1 }");
    let proxy = config.start();
    let order = route(&proxy, &[], &ids());
    let of_first = ids().into_iter().zip(order).find(|(_, order)| order[0] == "b1").unwrap().0;
    let _full = Client::session(proxy.address(), &of_first);
    brokers[1].stop();
    for n in 0..5 {
        refuse(proxy.address(), &format!("dev-{n}"));
    }
    wait_for("the proxy to have asked", || {
        (proxy.metric("mqtt_lb_rejects_total", &[]) >= 5.0).then_some(())
    });
    assert_eq!((ready(&proxy).0, lines(&proxy, "serves nobody")), (200, vec![]));
}

/// Another configuration knows nothing of it; the same one does.
#[test]
fn a_reload() {
    let mut broker = Broker::echoing();
    let config = Config::of([&broker]);
    let proxy = config.start();
    broker.stop();
    refuse(proxy.address(), "one");
    wait_ready(&proxy, 503);
    let reload = |text: &str, generation: u64| {
        std::fs::write(proxy.config_file(), text).unwrap();
        proxy.signal(Signal::HUP);
        wait_for("the reload", || {
            let status = api(&proxy, "/api/v1/status");
            (status["config"]["generation"] == generation).then_some(())
        });
    };
    reload(&config.text(), 2);
    assert_eq!(ready(&proxy).0, 503);
    reload(&config.clone().pool("tries: 2").text(), 3);
    assert_eq!((ready(&proxy).0, proxy.metric(SERVING, &[]) as u64), (200, 1));
    refuse(proxy.address(), "two");
    wait_ready(&proxy, 503);
}

/// Where clients are not tried again, those that others take meanwhile show whose fault it is.
#[test]
fn a_broker_that_fails_alone_is_ejected() {
    let mut brokers = brokers::<2>();
    let passive = "health: { passive: { failures: 3, eject_for: 1h } }";
    let proxy = Config::of(&brokers).pool("tries: 1").pool(passive).start();
    let orders = route(&proxy, &[], &ids());
    let of = |name: &str| -> Vec<String> {
        let all = ids().into_iter().zip(&orders).filter(|(_, order)| order[0] == name);
        all.map(|(id, _)| id).collect()
    };
    let (of_dead, of_alive) = (of("b1"), of("b2"));
    brokers[0].stop();
    for id in &of_dead[..10] {
        refuse(proxy.address(), id);
    }
    assert_eq!(proxy.metric(EJECTIONS, &[]) as u64, 0);
    // Three are enough, if no two of what happens fall into one millisecond.
    for (n, alive) in of_alive.iter().enumerate() {
        drop(Client::session(proxy.address(), alive));
        proxy.wait_end(alive);
        if proxy.metric(EJECTIONS, &[]) > 0.5 {
            assert!(n >= 3, "ejected after {n} failures");
            break;
        }
        refuse(proxy.address(), &of_dead[10]);
    }
    assert_eq!(proxy.metric(EJECTIONS, &[]) as u64, 1);
    drop(Client::session(proxy.address(), &of_dead[11]));
    assert_eq!(proxy.wait_end(&of_dead[11])["upstream"], "b2");
}
