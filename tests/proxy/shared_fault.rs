//! A fault that all brokers share ends no session; one broker's own fault ends its sessions.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    broker::{Broker, Link, echo_to},
    client::Client,
    config::Config,
    harness::{Proxy, end, wait_for},
    routing::ids,
};

/// A broker that goes on with its sessions, and answers no new CONNECT while it is `stuck`.
fn sticky(stuck: &Arc<AtomicBool>) -> Broker {
    let stuck = stuck.clone();
    Broker::start(move |mut link: Link| {
        let Some(connect) = link.read_packet() else { return };
        if stuck.load(Ordering::SeqCst) {
            let _ = link.read_packet();
            return;
        }
        echo_to(link, &connect);
    })
}

fn sessions(proxy: &Proxy, count: usize) -> Vec<Client> {
    ids()[..count].iter().map(|id| Client::session(proxy.address(), id)).collect()
}

#[track_caller]
fn all_stay(proxy: &Proxy, sessions: &mut [Client]) {
    for session in sessions {
        session.echo(b"\xC0\x00");
    }
    let ended = proxy.log().into_iter().filter(|line| line["event"] == "disconnect");
    assert_eq!(ended.count(), 0);
}

const MQTT: &str =
    "health: { active: { type: mqtt, interval: 200ms, timeout: 150ms, fall: 3, rise: 2 } }";

#[test]
fn brokers_that_are_all_slow_keep_their_sessions() {
    let stuck: Vec<_> = (0..4).map(|_| Arc::<AtomicBool>::default()).collect();
    let brokers: Vec<_> = stuck.iter().map(sticky).collect();
    let proxy = Config::of(&brokers).pool(MQTT).pool("rebalance: { rate: 1000 }").start();
    let mut there = sessions(&proxy, 48);
    for stuck in &stuck {
        stuck.store(true, Ordering::SeqCst);
    }
    proxy.wait_stderr("trying them all");
    all_stay(&proxy, &mut there);
    for stuck in &stuck {
        stuck.store(false, Ordering::SeqCst);
    }
    proxy.wait_metric("mqtt_lb_upstream_up", &[], 4.0);
    proxy.wait_metric("mqtt_lb_pool_down_held", &[], 0.0);
    all_stay(&proxy, &mut there);
}

#[test]
fn brokers_that_all_refuse_keep_their_sessions() {
    let mut brokers: Vec<_> = (0..7).map(|_| Broker::echoing()).collect();
    let tcp = "health: { active: { type: tcp, interval: 150ms, timeout: 100ms, fall: 2 } }";
    let proxy = Config::of(&brokers).pool(tcp).start();
    let mut there = sessions(&proxy, 56);
    brokers.iter_mut().for_each(Broker::stop);
    proxy.wait_stderr("trying them all");
    all_stay(&proxy, &mut there);
}

#[test]
fn a_broker_that_is_stuck_alone_loses_its_sessions() {
    let stuck = Arc::<AtomicBool>::default();
    let brokers = [sticky(&stuck), Broker::echoing(), Broker::echoing()];
    let proxy = Config::of(&brokers).pool(MQTT).pool("rebalance: { rate: 1000 }").start();
    let _there = sessions(&proxy, 45);
    let log = wait_for("the connects", || Some(proxy.log()).filter(|log| log.len() == 45));
    let own = log.iter().filter(|line| line["upstream"] == "b1").count();
    stuck.store(true, Ordering::SeqCst);
    proxy.wait_stderr("down while the checks of other brokers succeed");
    let ends = proxy.wait_ends(own);
    assert_eq!(ends.len(), own);
    for line in ends {
        assert_eq!((end(&line).as_str(), &line["upstream"]), ("proxy/relay/down", &"b1".into()));
    }
    wait_for("no doubt", || (proxy.metric("mqtt_lb_pool_down_held", &[]) < 0.5).then_some(()));
}
