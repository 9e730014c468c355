//! What `mqtt-lb route` and the API say about rules, and that clients go there.

use serde_json::{Value, json};

use super::{TwoPools, is_in_share};
use crate::{
    admin::{
        ctl::{ctl, printed, words},
        http::{ask, get},
    },
    broker::Broker,
    client::{Client, Connect, connack},
    config::Config,
    harness::{Proxy, run},
};

const RULES: &str = "rules: [
    { name: stolen, when: { client_id: \"stolen-*\" }, refuse: banned },
    { name: acme, when: { username: acme, protocol_version: 5.0 }, pool: other },
    { name: moved, when: { username: moved, has_password: false }, redirect: \"mqtt.example:8883\" },
    { name: canary, when: { percent: 25 }, pool: other }]";

fn config(pools: &TwoPools) -> Config {
    pools.config.clone().listener(RULES)
}

/// Exit code, standard output, standard error.
fn route(proxy: &Proxy, args: &[&str]) -> (i32, String, String) {
    let output = run(&[&["route", "-c", &proxy.config_file()], args].concat(), "");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn json_lines(proxy: &Proxy, args: &[&str]) -> Vec<Value> {
    let (code, out, said) = route(proxy, &[&["--json"], args].concat());
    assert_eq!((code, &*said), (0, ""), "{args:?}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An ID inside of 25 percent, and one outside.
fn two_ids() -> (String, String) {
    let mut ids = (0..).map(|n| format!("device-{n}"));
    let inside = ids.find(|id| is_in_share(id, "25")).unwrap();
    (inside, ids.find(|id| !is_in_share(id, "25")).unwrap())
}

/// The command line, the API and the log agree about the rule and the broker.
#[test]
fn the_rule_that_decides() {
    let pools = TwoPools::new();
    let proxy = config(&pools).start();
    let (inside, outside) = two_ids();
    for (id, username, version) in [
        (&*inside, None, 4),
        (&outside, None, 4),
        (&inside, Some("acme"), 5),
        (&outside, Some("acme"), 5),
        (&outside, Some("acme"), 4),
        (&outside, Some("else"), 3),
    ] {
        let mut connect = Connect::new(version, id);
        connect.username = username;
        let log = proxy.log();
        drop(Client::exchange(proxy.address(), &connect.bytes(), &connack(version, 0)));
        let line = proxy.wait_log("the connect", |line| {
            line["event"] == "connect" && line["client_id"] == *id && !log.contains(line)
        });
        let version = version.to_string();
        let mut args = vec!["--protocol-version", &*version, "--has-password", "false", id];
        args.extend(username.iter().flat_map(|name| ["--username", name]));
        let told = json_lines(&proxy, &args).remove(0);
        assert_eq!((&told["rule"], &told["pool"]), (&line["rule"], &line["pool"]), "{args:?}");
        assert_eq!(told["brokers"], json!([line["upstream"]]));
        let name = username.map_or(String::new(), |name| format!("&username={name}"));
        let answer = get(
            &proxy,
            &format!(
                "/api/v1/route?listener=mqtt&client_id={id}&protocol_version={version}\
                 &has_password=false{name}"
            ),
        );
        for key in ["rule", "rules", "pool", "listener"] {
            assert_eq!(answer[key], told[key], "{key}");
        }
        let here = answer["pools"].as_array().unwrap().iter().find(|p| p["pool"] == line["pool"]);
        assert_eq!(here.unwrap()["goes_to"], line["upstream"]);
    }
}

#[test]
fn why_a_rule_decides() {
    let pools = TwoPools::new();
    let proxy = config(&pools).start();
    let (inside, outside) = two_ids();
    let share = |id: &str| {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), 0x0070_6572_6365_6e74);
        let hundredths = ((hash >> 32) * 10_000) >> 32;
        format!("share {} of percent 25", hundredths as f64 / 100.0)
    };
    let told = json_lines(&proxy, &["--username", "x", &outside]).remove(0);
    let verdict =
        |rule: &str, holds: bool, why: &str| json!({ "rule": rule, "holds": holds, "why": why });
    assert_eq!(
        told,
        json!({
            "client_id": outside,
            "listener": "mqtt",
            "rules": [
                verdict("stolen", false, "client_id does not match"),
                verdict("acme", false, "protocol_version is absent"),
                verdict("moved", false, "has_password is absent"),
                verdict("canary", false, &share(&outside)),
            ],
            "pool": "brokers",
            "brokers": ["b1"],
        })
    );
    let (_, text, _) = route(&proxy, &["--username", "moved", "--has-password", "true", &inside]);
    let wanted = format!(
        "{inside}\tother\tpool other by rule canary: {}; not stolen: client_id does not match; not \
         acme: protocol_version is absent; not moved: has_password does not match\n",
        share(&inside)
    );
    assert_eq!(text, wanted);
    let (_, text, _) = route(&proxy, &["--username", "moved", "--has-password", "false", "x"]);
    assert!(text.starts_with("x\t(to mqtt.example:8883)\tby rule moved: all conditions hold; not"));
    let refused = json_lines(&proxy, &["stolen-1"]).remove(0);
    assert_eq!((&refused["refuse"], &refused["rule"]), (&json!("banned"), &json!("stolen")));
    assert_eq!((refused.get("pool"), refused.get("brokers")), (None, None));
    // With the pool named, rules do not count.
    let told = json_lines(&proxy, &["--pool", "brokers", "stolen-1"]).remove(0);
    assert_eq!(told, json!({ "client_id": "stolen-1", "pool": "brokers", "brokers": ["b1"] }));

    let answer = get(&proxy, "/api/v1/route?listener=mqtt&client_id=stolen-1");
    assert_eq!((&answer["refuse"], &answer["pools"]), (&json!("banned"), &json!([])));
    let text = printed(&proxy, &["route", "--listener", "mqtt", "stolen-1"]);
    assert_eq!(text, "rule stolen holds: all conditions hold\nrefused: banned\n");
    let text = printed(&proxy, &["route", "--listener", "mqtt", &inside]);
    let lines: Vec<_> = words(&text).into_iter().map(|line| line.join(" ")).collect();
    assert_eq!(lines[3], format!("rule canary holds: {}", share(&inside)));
    assert_eq!(lines[4..], ["POOL GOES TO IS ON ORDER", "other other - other"]);
}

/// The API counts with the share that the operator has set.
#[test]
fn the_share_in_force() {
    let pools = TwoPools::new();
    let proxy = config(&pools).start();
    let (_, outside) = two_ids();
    let path = format!("/api/v1/route?listener=mqtt&client_id={outside}");
    assert_eq!(get(&proxy, &path)["pool"], "brokers");
    // A session that stays where it is: the answer has both pools.
    let _held = Client::session(proxy.address(), &outside);
    proxy.wait_connected(&outside);
    printed(&proxy, &["rule", "canary", "--percent", "100"]);
    let answer = get(&proxy, &path);
    assert_eq!((&answer["pool"], &answer["rule"]), (&json!("other"), &json!("canary")));
    assert_eq!(answer["rules"][3]["why"], "all conditions hold");
    let [brokers, other] = [0, 1].map(|at| answer["pools"][at].clone());
    assert_eq!(
        (&brokers["pool"], &brokers["sessions"][0]["upstream"]),
        (&json!("brokers"), &json!("b1"))
    );
    assert_eq!((&other["pool"], &other["goes_to"]), (&json!("other"), &json!("other")));
}

#[test]
fn rewritten_before_the_rules() {
    let pools = TwoPools::new();
    let proxy = pools
        .with("{ name: tenant, when: { client_id: \"anna/*\" }, pool: other }")
        .listener("rewrite: { client_id: \"${username}/${client_id}\" }")
        .start();
    let told = json_lines(&proxy, &["--username", "anna", "dev"]).remove(0);
    assert_eq!((&told["rule"], &told["pool"]), (&json!("tenant"), &json!("other")));
    let why = "rewrite.client_id needs ${username}, which has no value";
    assert_eq!(json_lines(&proxy, &["dev"])[0]["why"], why);
    let answer = get(&proxy, "/api/v1/route?listener=mqtt&client_id=dev&username=anna");
    assert_eq!((&answer["rule"], &answer["pool"]), (&json!("tenant"), &json!("other")));
    let answer = get(&proxy, "/api/v1/route?listener=mqtt&client_id=dev");
    assert_eq!((&answer["why"], answer.get("pool")), (&json!(why), None));
}

/// Who would move between pools, brokers and refusals.
#[test]
fn against_another_configuration() {
    let pools = TwoPools::new();
    let proxy = pools.start("{ name: canary, when: { percent: 5 }, pool: other }");
    let more = proxy.path("more.yaml");
    let rules = "{ name: no, when: { client_id: device-1 }, refuse: banned },
                 { name: canary, when: { percent: 30 }, pool: other }";
    std::fs::write(&more, pools.with(rules).text()).unwrap();
    let ids: Vec<_> = (0..400).map(|n| format!("device-{n}")).collect();
    let moved = |id: &&String| is_in_share(id, "30") && !is_in_share(id, "5") && **id != "device-1";
    let count = ids.iter().filter(moved).count();
    let mut args = vec!["--against", more.to_str().unwrap(), "--json"];
    args.extend(ids.iter().map(String::as_str));
    let (code, out, _) = route(&proxy, &args);
    assert_eq!(code, 0);
    let from = if is_in_share("device-1", "5") { "other/other" } else { "brokers/b1" };
    let mut wanted = json!({ "brokers/b1": { "other/other": count } });
    wanted[from]["(refused: banned)"] = 1.into();
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told, json!({ "ids": 400, "moved": count + 1, "moves": wanted }));
}

#[test]
fn which_listener() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker])
        .another_pool("other", &broker, "")
        .listener("rules: [{ name: all, pool: other }]")
        .another_listener("name: second")
        .start();
    assert_eq!(json_lines(&proxy, &["--listener", "mqtt", "x"])[0]["pool"], "other");
    let told = json_lines(&proxy, &["--listener", "second", "x"]).remove(0);
    assert_eq!(told, json!({ "client_id": "x", "pool": "brokers", "brokers": ["b1"] }));
    for (args, says) in [
        (&["x"][..], "add --listener, one of mqtt, second, or --pool, one of brokers, other"),
        (&["--listener", "y", "x"], "no listener y; the configuration has mqtt, second"),
        (&["--listener", "mqtt", "--pool", "other", "x"], "cannot be used with"),
        (&["--protocol-version", "6", "x"], "allowed: 3.1, 3.1.1 and 5"),
    ] {
        let (code, _, said) = route(&proxy, args);
        assert_eq!(code, 2, "{args:?}");
        assert!(said.contains(says), "{said}");
    }
    for (query, status) in [
        ("client_id=x&listener=mqtt&path=%2Fmqtt&will=true&clean_start=false", 200),
        ("client_id=x&listener=y", 404),
        ("client_id=x&listener=mqtt&pool=other", 400),
        ("client_id=x&protocol_version=6", 400),
        ("client_id=x&will=perhaps", 400),
    ] {
        let told = ask(&proxy, "GET", &format!("/api/v1/route?{query}"), "", "");
        assert_eq!(told.status, status, "{query}");
    }
    assert_eq!(ctl(&proxy, &["route", "x", "--listener", "y"]).0, 1);
}

/// Facts that have no parameter of their own: `--var` of both commands, `var` of the API.
#[test]
fn variables() {
    let pools = TwoPools::new();
    let rules = "rules: [
        { name: acme, when: { jwt.tenant: acme, jwt.site: [a, b] }, pool: other },
        { name: dns, when: { tls_san_dns: two }, refuse: banned }]";
    let proxy = pools.config.clone().listener(rules).start();
    let acme = ["--var", "jwt.tenant=acme", "--var", "jwt.site=b"];
    let dns = ["--var", "tls_san_dns=one", "--var", "tls_san_dns=two"];
    for (variables, query, rule) in [
        (&acme, "var=jwt.tenant%3Dacme&var=jwt.site%3Db", "acme"),
        (&dns, "tls_san_dns=one&var=tls_san_dns%3Dtwo", "dns"),
    ] {
        let args = [&variables[..], &["dev"]].concat();
        assert_eq!(json_lines(&proxy, &args)[0]["rule"], rule);
        let path = format!("/api/v1/route?listener=mqtt&client_id=dev&{query}");
        assert_eq!(get(&proxy, &path)["rule"], rule);
        let args = [&["route", "--listener", "mqtt"], &variables[..], &["dev"]].concat();
        let told = printed(&proxy, &args);
        assert!(told.contains(&format!("rule {rule} holds: all conditions hold")), "{told}");
    }
    for (wrong, says) in [
        ("tenant", "allowed: NAME=VALUE"),
        ("x=1", "unknown variable `x`"),
        ("username=anna", "`username` has a parameter of its own"),
    ] {
        let (code, _, said) = ctl(&proxy, &["route", "--var", wrong, "dev"]);
        assert!(code == 2 && said.contains(says), "{said}");
        let (code, _, said) = route(&proxy, &["--var", wrong, "dev"]);
        assert!(code == 2 && said.contains(says), "{said}");
        let path = format!("/api/v1/route?client_id=dev&var={}", wrong.replace('=', "%3D"));
        let answer = ask(&proxy, "GET", &path, "", "");
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains(says), "{}", answer.error());
    }
}
