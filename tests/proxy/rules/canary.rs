//! A share of the clients that the operator sets at run time.

use serde_json::{Value, json};

use super::{TwoPools, is_in_share};
use crate::{
    admin::{
        ctl::{ctl, json_of, printed, words},
        http::{ask, get, patch},
    },
    broker::Broker,
    client::{Client, Connect, connack},
    config::Config,
    harness::{Proxy, rejects, wait_for},
    reload::take,
};

const CANARY: &str = "/api/v1/listeners/mqtt/rules/canary";

fn canary(percent: &str) -> String {
    format!("{{ name: canary, when: {{ percent: {percent} }}, pool: other }}")
}

fn session(proxy: &Proxy, id: &str) -> Client {
    let connect = Connect::new(5, id).keep_alive(0).bytes();
    Client::exchange(proxy.address(), &connect, &connack(5, 0))
}

fn rule(proxy: &Proxy, at: usize) -> Value {
    get(proxy, "/api/v1/rules")["listeners"][0]["rules"][at].take()
}

/// From 0 to 100 % and back: only the clients that move are told to reconnect, and the others are
/// left alone.
#[test]
fn a_canary_by_hand() {
    let (main, other) = (Broker::echoing(), Broker::echoing());
    let pool = "rebalance: { rate: 500 }";
    let config = Config::of([&main]).workers(2).pool(pool).another_pool("other", &other, pool);
    let proxy = config.listener(&format!("rules: [{}]", canary("0"))).start();
    let ids: Vec<_> = (0..60).map(|n| format!("device-{n}")).collect();
    let mut clients: Vec<_> = ids.iter().map(|id| session(&proxy, id)).collect();
    let mut before = "0";
    for share in ["5", "20.5", "60", "100", "0"] {
        let said = printed(&proxy, &["rule", "canary", "--percent", share]);
        assert_eq!(said, format!("rule canary of listener mqtt: {before} % -> {share} %\n"));
        for (id, client) in ids.iter().zip(&mut clients) {
            if is_in_share(id, share) == is_in_share(id, before) {
                client.echo(b"\xC0\x00");
                continue;
            }
            assert_eq!(client.rest(), (b"\xE0\x01\x9C".to_vec(), Ok(())), "{id} {share}");
            *client = session(&proxy, id);
        }
        let wanted = ids.iter().filter(|id| is_in_share(id, share)).count();
        wait_for("the sessions", || {
            let answer = get(&proxy, "/api/v1/rules");
            let listener = &answer["listeners"][0];
            let sessions = |of: &Value| of["traffic"]["sessions"].as_u64().unwrap() as usize;
            let there = sessions(&listener["rules"][0]);
            (there == wanted && sessions(listener) == ids.len() - wanted).then_some(())
        });
        before = share;
    }
    let line = "set by the operator listener=\"mqtt\" rule=\"canary\" percent=20.5";
    let log = get(&proxy, "/api/v1/log");
    let plain = |line: &Value| line["message"].as_str().unwrap().replace('"', "");
    let mut lines = log["lines"].as_array().unwrap().iter();
    assert!(lines.any(|known| plain(known) == line.replace('"', "")), "{log}");
}

/// A rule that was written for all clients that match it: the operator is told what happens to the
/// others.
#[test]
fn a_share_of_a_rule_that_was_for_all() {
    let pools = TwoPools::new();
    let rules = "{ name: stolen, when: { client_id: \"bad*\" }, refuse: banned },
        { name: gone, when: { username: gone }, redirect: \"mqtt.example\" },
        { name: eu, when: { client_id: \"eu*\" }, pool: other },
        { name: canary, when: { percent: 50 }, pool: other }";
    let proxy = pools.start(rules);
    for (rule, does) in [("stolen", "refuses"), ("gone", "redirects"), ("eu", "applies to")] {
        let said = printed(&proxy, &["rule", rule, "--percent", "5"]);
        let warning = format!(
            "rule {rule} {does} only 5 % of the clients that match it; the rules below it, or the \
             listener's pool, decide about the others\n"
        );
        let change = format!("rule {rule} of listener mqtt: 100 % -> 5 %\n");
        assert_eq!(said, format!("{change}warning: {warning}"));
        proxy.wait_stderr(warning.trim_end());
        let said = printed(&proxy, &["rule", rule, "--reset"]);
        assert_eq!(said, format!("rule {rule} of listener mqtt: 5 % -> 100 %, as configured\n"));
    }
    let said = printed(&proxy, &["rule", "canary", "--percent", "5"]);
    assert_eq!(said, "rule canary of listener mqtt: 50 % -> 5 %\n");
}

/// What the operator needs to see before going on.
#[test]
fn pools_side_by_side() {
    let main = Broker::echoing();
    let other = Broker::start(|mut link| {
        link.read_packet();
        link.send(&connack(4, 5));
    });
    let config = Config::of([&main]).another_pool("other", &other, "");
    let rules = "rules: [
        { name: bad, when: { client_id: \"bad*\" }, refuse: banned },
        { name: canary, when: { percent: 50 }, pool: other },
        { name: gone, when: { username: gone }, redirect: \"mqtt.example\" }]";
    let proxy = config.listener(rules).start();
    let (inside, outside) = ids_by_share("50");
    for id in &inside[..3] {
        drop(Client::exchange(proxy.address(), &Connect::new(4, id).bytes(), &connack(4, 5)));
    }
    let _held = session(&proxy, &outside[0]);
    drop(Client::exchange(proxy.address(), &Connect::new(4, "bad-1").bytes(), &connack(4, 5)));
    rejects(&proxy, 4);
    let answer = get(&proxy, "/api/v1/rules");
    assert_eq!(
        answer,
        json!({ "listeners": [{
            "listener": "mqtt",
            "default_pool": "brokers",
            "traffic": { "sessions": 1, "connects": 1, "refused": 0, "failed": 0,
                         "connacks": { "success": 1 } },
            "rules": [
                { "name": "bad", "action": "refuse", "target": "banned", "percent": 100,
                  "configured_percent": 100, "set_by_operator": false, "hits": 1 },
                { "name": "canary", "action": "pool", "target": "other", "percent": 50,
                  "configured_percent": 50, "set_by_operator": false, "hits": 3,
                  "traffic": { "sessions": 0, "connects": 3, "refused": 3, "failed": 0,
                               "connacks": { "not_authorized": 3 } } },
                { "name": "gone", "action": "redirect", "target": "mqtt.example", "percent": 100,
                  "configured_percent": 100, "set_by_operator": false, "hits": 0 },
            ],
        }] })
    );
    assert_eq!(json_of(&proxy, &["rules"]), answer);
    printed(&proxy, &["rule", "canary", "--percent", "12.25"]);
    let table = printed(&proxy, &["rules"]);
    let lines: Vec<_> = words(&table).into_iter().map(|line| line.join(" ")).collect();
    assert_eq!(
        lines,
        [
            "LISTENER RULE TO PERCENT HITS SESSIONS CONNECTS REFUSED FAILED CONNACKS",
            "mqtt bad refuse banned 100 1 - - - - -",
            "mqtt canary other 12.25 (not 50) 3 0 3 100.00 % 0.00 % not_authorized 3",
            "mqtt gone redirect mqtt.example 100 0 - - - - -",
            "mqtt - brokers - - 1 1 0.00 % 0.00 % success 1",
        ]
    );
    assert_eq!(printed(&proxy, &["rules", "--listener", "mqtt"]), table);
}

/// What the operator has set remains until the configured share changes, or the rule is gone.
#[test]
fn a_reload_keeps_what_the_operator_has_set() {
    let pools = TwoPools::new();
    let first = pools.with(&canary("5"));
    let proxy = first.start();
    let share = || {
        let rule = rule(&proxy, 0);
        (rule["percent"].clone(), rule["set_by_operator"] == true)
    };
    assert_eq!(share(), (json!(5), false));
    printed(&proxy, &["rule", "canary", "--percent", "40"]);
    assert_eq!(share(), (json!(40), true));
    let with_another = format!("{}, {{ name: more, refuse: banned }}", canary("5"));
    take(&proxy, &pools.with(&with_another));
    assert_eq!(share(), (json!(40), true));
    let said = printed(&proxy, &["rule", "canary", "--reset"]);
    assert_eq!(said, "rule canary of listener mqtt: 40 % -> 5 %, as configured\n");
    proxy.wait_stderr("reset by the operator: the configured percent holds again");
    assert_eq!(share(), (json!(5), false));
    printed(&proxy, &["rule", "canary", "--percent", "40"]);
    take(&proxy, &pools.with(&canary("6")));
    assert_eq!(share(), (json!(6), false));
    printed(&proxy, &["rule", "canary", "--percent", "40"]);
    take(&proxy, &pools.config);
    take(&proxy, &pools.with(&canary("6")));
    assert_eq!(share(), (json!(6), false));
}

#[test]
fn what_is_refused_is_said() {
    let pools = TwoPools::new();
    let proxy = pools
        .with(&canary("5"))
        .another_listener(&format!("name: second, rules: [{}]", canary("7")))
        .another_listener("name: third")
        .start();
    for (args, code, says) in [
        (&["rule", "canary", "--percent", "20"][..], 1, "add --listener, one of mqtt, second"),
        (&["rule", "x", "--percent", "20"], 1, "no rule x; the configuration has canary, canary"),
        (
            &["rule", "x", "--reset", "--listener", "mqtt"],
            1,
            "no rule x in listener mqtt; it has canary",
        ),
        (
            &["rule", "canary", "--reset", "--listener", "third"],
            1,
            "no rule canary in listener third; it has no rules",
        ),
        (
            &["rule", "canary", "--reset", "--listener", "x"],
            1,
            "no listener x; the configuration has mqtt, second, third",
        ),
        (&["rules", "--listener", "x"], 1, "the configuration has mqtt, second, third"),
        (&["rule", "canary"], 2, "<--percent <N>|--reset>"),
        (&["rule", "canary", "--percent", "1", "--reset"], 2, "cannot be used with"),
        (&["rule", "canary", "--percent", "100.01"], 2, "allowed: 0 to 100, with up to two"),
        (&["rule", "canary", "--percent", "0.001"], 2, "allowed: 0 to 100, with up to two"),
    ] {
        let (exit, _, said) = ctl(&proxy, args);
        assert_eq!(exit, code, "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let said = printed(&proxy, &["rule", "canary", "--listener", "second", "--percent", "0.5"]);
    assert_eq!(said, "rule canary of listener second: 7 % -> 0.5 %\n");
    for (target, body, status, says) in [
        (CANARY, "{}", 400, "the body is empty; allowed: an object with `percent`"),
        (CANARY, r#"{"percent": 101}"#, 400, "invalid `percent` 101; allowed: a number from 0 to"),
        (CANARY, r#"{"percent": "5"}"#, 400, "invalid `percent` \"5\""),
        (CANARY, r#"{"weight": 5}"#, 400, "unknown key \"weight\""),
        (
            "/api/v1/listeners/mqtt/rules/x",
            r#"{"percent": 5}"#,
            404,
            "no rule x in listener mqtt; it has canary",
        ),
        (
            "/api/v1/listeners/third/rules/x",
            r#"{"percent": 5}"#,
            404,
            "no rule x in listener third; it has no rules",
        ),
        (
            "/api/v1/listeners/x/rules/canary",
            r#"{"percent": 5}"#,
            404,
            "no listener x; the configuration has mqtt, second, third",
        ),
    ] {
        let told = patch(&proxy, target, body);
        assert_eq!(told.status, status, "{target} {body}");
        assert!(told.error().contains(says), "{}", told.error());
    }
    assert_eq!(ask(&proxy, "GET", CANARY, "", "").status, 405);
    assert_eq!(rule(&proxy, 0)["percent"], 5);
}

/// IDs inside and outside a share.
fn ids_by_share(percent: &str) -> (Vec<String>, Vec<String>) {
    (0..40).map(|n| format!("device-{n}")).partition(|id| is_in_share(id, percent))
}

/// Nothing is shared between proxies, and they agree.
#[test]
fn two_proxies_agree() {
    let pools = TwoPools::new();
    let rules = "{ name: tenant, when: { client_id: \"*1\" }, pool: other },
                 { name: canary, when: { percent: 30 }, pool: other }";
    let proxies = [pools.start(rules), pools.with(rules).workers(2).start()];
    for n in 0..40 {
        let id = format!("device-{n}");
        let of = |proxy: &Proxy| {
            drop(session(proxy, &id));
            let line = proxy.wait_connected(&id);
            (line["rule"].clone(), line["pool"].clone())
        };
        assert_eq!(of(&proxies[0]), of(&proxies[1]), "{id}");
    }
}
