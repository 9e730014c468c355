//! What the operator has set, the counters and the logs survive an upgrade.

use rustix::process::Signal;
use serde_json::Value;

use super::{NewProcess, rename_pool};
use crate::{
    admin::ctl::{ctl, json_of, printed},
    broker::Broker,
    client::{Client, DISCONNECT},
    config::Config,
    harness::{Proxy, wait_for},
};

fn end_session(proxy: &Proxy, client: Client, id: &str) {
    let mut client = client;
    client.send(DISCONNECT);
    drop(client);
    proxy.wait_end(id);
}

/// A broker of `upstreams` by its name.
fn upstream(proxy: &Proxy, name: &str) -> Value {
    let pools = json_of(proxy, &["upstreams"]);
    let upstreams = pools["pools"][0]["upstreams"].as_array().unwrap().clone();
    upstreams.into_iter().find(|upstream| upstream["name"] == name).unwrap()
}

#[test]
fn what_the_operator_has_set() {
    let brokers = [Broker::echoing(), Broker::echoing(), Broker::echoing()];
    let rules =
        "rules: [ { name: canary, when: { client_id: \"x*\", percent: 10 }, pool: other } ]";
    let proxy = Config::of(&brokers).another_pool("other", &brokers[0], "").listener(rules).start();
    printed(&proxy, &["drain", "b1", "--pool", "brokers"]);
    printed(&proxy, &["down", "b2", "--pool", "brokers"]);
    printed(&proxy, &["weight", "b3", "7", "--pool", "brokers"]);
    printed(&proxy, &["rule", "canary", "--percent", "25.5"]);
    printed(&proxy, &["ban", "--client-id", "banned", "--for", "1h", "--reason", "why"]);
    printed(&proxy, &["ban", "--ip", "192.0.2.0/24", "--for", "2h"]);
    let bans = json_of(&proxy, &["bans"]);
    let mut new = NewProcess::of(&proxy);
    // Twice: what was taken over is handed over again.
    for _ in 0..2 {
        assert_eq!(upstream(&proxy, "b1")["state"], "drain");
        assert_eq!(upstream(&proxy, "b2")["state"], "down");
        assert_eq!(upstream(&proxy, "b3")["weight"], 7);
        assert_eq!(upstream(&proxy, "b3")["configured_weight"], 1);
        let rules = json_of(&proxy, &["rules"]);
        assert_eq!(rules["listeners"][0]["rules"][0]["percent"], 25.5);
        let mut now = json_of(&proxy, &["bans"]);
        for (ban, before) in
            now["bans"].as_array_mut().unwrap().iter_mut().zip(bans["bans"].as_array().unwrap())
        {
            let left =
                before["remaining_s"].as_f64().unwrap() - ban["remaining_s"].as_f64().unwrap();
            assert!((0.0..60.0).contains(&left), "{left}");
            for time in ["remaining_s", "since", "until"] {
                ban[time] = before[time].clone();
            }
        }
        assert_eq!(now, bans);
        new.next(&proxy);
    }
    let mut banned = Client::open(proxy.address());
    banned.send(&crate::client::connect(4, "banned"));
    let line = proxy.wait_log("the banned client", |line| line["client_id"] == "banned");
    assert_eq!(line["end_cause"], "banned");
}

/// Counters go on, in the metrics and in the API, and count nothing twice.
#[test]
fn totals() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    for n in 0..3 {
        let id = format!("before-{n}");
        end_session(&proxy, Client::session(proxy.address(), &id), &id);
    }
    let mut stays = Client::session(proxy.address(), "stays");
    rename_pool(&proxy);
    let mut new = NewProcess::of(&proxy);
    let accepted = || proxy.metric("mqtt_lb_connections_total", &["mqtt"]);
    assert!((accepted() - 4.0).abs() < 0.5, "{}", accepted());
    proxy.wait_metric("mqtt_lb_upgrades_total", &["done"], 1.0);
    // The old process tells how its counters rise.
    stays.echo(b"\xC0\x00");
    end_session(&proxy, stays, "stays");
    proxy.wait_metric("mqtt_lb_session_ends_total", &["relay"], 4.0);
    proxy.wait_metric("mqtt_lb_handshake_seconds_count", &["mqtt"], 4.0);
    proxy.wait_metric("mqtt_lb_handshake_seconds_bucket", &["+Inf"], 4.0);
    new.next(&proxy);
    end_session(&proxy, Client::session(proxy.address(), "after"), "after");
    proxy.wait_metric("mqtt_lb_session_ends_total", &["relay"], 5.0);
    proxy.wait_metric("mqtt_lb_upgrades_total", &["done"], 2.0);
    let status = json_of(&proxy, &["status"]);
    assert_eq!(status["listeners"][0]["connections_total"], 5);
    assert_eq!(status["listeners"][0]["connections_active"], 0);
    // A client may close before it has read all that the broker echoes, which resets.
    let counts = status["ends"].as_array().unwrap().iter().map(|end| &end["count"]);
    assert_eq!(counts.filter_map(Value::as_u64).sum::<u64>(), 5);
}

/// `ctl upgrade` answers once the new process accepts; the status of the new one shows the old one.
#[test]
fn by_ctl() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).start();
    let client = Client::session(proxy.address(), "stays");
    rename_pool(&proxy);
    let known = proxy.id();
    let mut said = String::new();
    let new = NewProcess::by(&proxy, || said = printed(&proxy, &["upgrade"]));
    let pid = new.pid().as_raw_nonzero().get();
    assert!(said.starts_with(&format!("process {pid}, version ")), "{said}");
    let status = json_of(&proxy, &["status"]);
    assert_eq!(status["pid"], pid);
    let previous = &status["last_upgrade"]["previous"];
    assert_eq!((&previous["pid"], &previous["state"]), (&known.into(), &"running".into()));
    wait_for("the connection to be told", || {
        let status = json_of(&proxy, &["status"]);
        let previous = &status["last_upgrade"]["previous"];
        (previous["remaining"] == 1 && previous["stayed"]["pool"] == 1).then_some(())
    });
    assert!(printed(&proxy, &["status"]).contains("previous process"));
    // Only one process at a time can be upgraded; the old one is not asked again.
    proxy.signal(Signal::USR2);
    proxy.wait_stderr("SIGUSR2: not upgraded: another process has taken over already");
    end_session(&proxy, client, "stays");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    wait_for("the end to be told", || {
        let status = json_of(&proxy, &["status"]);
        (status["last_upgrade"]["previous"]["state"] == "ended").then_some(())
    });
}

/// A stop signal of the new process ends the sessions of both, paced.
#[test]
fn a_stop_ends_both() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 500ms }").start();
    let _old = Client::session(proxy.address(), "old");
    rename_pool(&proxy);
    let new = NewProcess::of(&proxy);
    let _new = Client::session(proxy.address(), "new");
    new.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    wait_for("the new process to end", || (!new.is_running()).then_some(()));
    for id in ["old", "new"] {
        assert_eq!(proxy.wait_end(id)["end_cause"], "drain");
    }
}

/// The sessions that stay are ended over the last part of `upgrade.timeout`.
#[test]
fn the_timeout() {
    let broker = Broker::echoing();
    let keys = "upgrade: { timeout: 1s }\ndrain: { timeout: 500ms }";
    let mut proxy = Config::of([&broker]).more(keys).start();
    let _clients = ["a", "b", "c"].map(|id| Client::session(proxy.address(), id));
    rename_pool(&proxy);
    let _new = NewProcess::of(&proxy);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    for id in ["a", "b", "c"] {
        assert_eq!(proxy.wait_end(id)["end_cause"], "drain");
    }
}

/// SIGUSR1 at the new process makes both reopen the logs; every connection has its lines, once.
#[test]
fn access_logs() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let old = Client::session(proxy.address(), "old");
    rename_pool(&proxy);
    let new = NewProcess::of(&proxy);
    let fresh = Client::session(proxy.address(), "new");
    proxy.wait_connected("old");
    proxy.wait_connected("new");
    std::fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    new.signal(Signal::USR1);
    proxy.wait_stderr("SIGUSR1 at the new process: reopening the access logs");
    wait_for("the new file", || proxy.path("access.log").exists().then_some(()));
    end_session(&proxy, old, "old");
    end_session(&proxy, fresh, "new");
    assert_eq!(proxy.log().len(), 2);
    assert_eq!(crate::harness::json_lines(&proxy.path("access.log.1")).len(), 2);
}

/// A reload is refused while an upgrade is in progress, and an upgrade while another is, and while
/// the proxy shuts down.
#[test]
fn one_thing_at_a_time() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 100s }").start();
    let client = Client::session(proxy.address(), "stays");
    let slow = proxy.path("slow");
    std::fs::write(&slow, "").unwrap();
    let script = super::failures::script(
        &proxy,
        "while [ -e \"${0%/*}/slow\" ]; do sleep 0.05; done; exit 1",
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ctl(&proxy, &["upgrade", "--binary", script.to_str().unwrap()]));
        proxy.wait_stderr("upgrading to");
        let (code, _, said) = ctl(&proxy, &["upgrade"]);
        assert_eq!((code, said.contains("in progress")), (1, true), "{said}");
        let (code, _, said) = ctl(&proxy, &["reload"]);
        assert_eq!((code, said.contains("an upgrade is in progress")), (1, true), "{said}");
        std::fs::remove_file(&slow).unwrap();
        assert_eq!(first.join().unwrap().0, 1);
    });
    printed(&proxy, &["reload"]);
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");
    let (code, _, said) = ctl(&proxy, &["upgrade"]);
    assert_eq!((code, said.contains("shutting down")), (1, true), "{said}");
    drop(client);
    assert_eq!(proxy.wait_exit().code(), Some(0));
}
