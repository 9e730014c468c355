//! Real responses, and what the OpenAPI document says about them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::http::{Told, ask, get};
use crate::{
    broker::Broker,
    client::{CONNACK_V5, Client, connect},
    config::Config,
    harness::Proxy,
};

const CHANGE: &str = "/api/v1/pools/{pool}/upstreams/{name}";
const CHANGE_RULE: &str = "/api/v1/listeners/{listener}/rules/{name}";
const CANARY: &str = "/api/v1/listeners/mqtt/rules/canary";
const B1: &str = "/api/v1/pools/brokers/upstreams/b1";

struct Document {
    json: Value,
    /// Operations checked, as method and path.
    checked: BTreeSet<(String, String)>,
}

impl Document {
    /// Checks a response of the operation at `path`, in lower case `method`.
    #[track_caller]
    fn check(&mut self, method: &str, path: &str, told: &Told) {
        let status = told.status.to_string();
        let mut response = &self.json["paths"][path][method]["responses"][&status];
        assert!(!response.is_null(), "{method} {path}: {status} is not documented: {told:?}");
        if let Some(shared) = response["$ref"].as_str() {
            response = self.json.pointer(&shared[1..]).expect(shared);
        }
        self.checked.insert((method.to_owned(), path.to_owned()));
        let Some(content) = response["content"].as_object() else {
            assert_eq!(told.body, "", "{method} {path}");
            return;
        };
        let media_type = told.header("content-type").unwrap().split(';').next().unwrap();
        let mut schema = content.get(media_type).expect(media_type)["schema"].clone();
        if media_type != "application/json" {
            return;
        }
        // What the schema refers to.
        schema["components"] = self.json["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let body = told.json();
        let faults: Vec<_> = validator
            .iter_errors(&body)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{method} {path}: {faults:?} in {body}");
    }
}

const BANS: &str = "/api/v1/bans";
const BAN: &str = r#"{ "bans": [ { "kind": "client_id", "value": "x", "for_s": 60 },
    { "kind": "ip", "value": "127.0.0.0/8", "for_s": 1, "comment": "why" } ] }"#;

#[test]
fn responses_are_as_documented() {
    let broker = Broker::echoing();
    let rules = "rules: [{ name: no, when: { client_id: no }, refuse: banned }, \
                 { name: canary, when: { percent: 5 }, pool: brokers }]";
    let proxy = Config::of([&broker]).listener(rules).start();
    let _client = Client::exchange(proxy.address(), &connect(5, "documented"), CONNACK_V5);
    proxy.wait_connected("documented");
    let mut document =
        Document { json: get(&proxy, "/api/v1/openapi.json"), checked: BTreeSet::new() };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/openapi.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(document.json, committed);

    let session = get(&proxy, "/api/v1/sessions?client_id=documented")["sessions"][0].take();
    let kick = format!("/api/v1/sessions/{}", session["id"].as_str().unwrap());
    let drain = json!({ "state": "drain", "weight": 2 }).to_string();
    let refused = "X: y\r\nOrigin: http://elsewhere.example\r\n";
    let as_json = "Content-Type: application/json\r\n";
    for (method, path, target, headers, body, status) in [
        ("get", "/livez", "/livez", "", "", 200),
        ("get", "/readyz", "/readyz", "", "", 200),
        ("get", "/metrics", "/metrics", "", "", 200),
        ("get", "/metrics", "/metrics", refused, "", 403),
        ("get", "/api/v1/openapi.json", "/api/v1/openapi.json", "", "", 200),
        ("get", "/api/v1/status", "/api/v1/status", "", "", 200),
        ("get", "/api/v1/status", "/api/v1/status?x", "", "", 400),
        ("get", "/api/v1/config", "/api/v1/config", "", "", 200),
        ("get", "/api/v1/config", "/api/v1/config?x", "", "", 400),
        ("get", "/api/v1/log", "/api/v1/log", "", "", 200),
        ("get", "/api/v1/duplicates", "/api/v1/duplicates", "", "", 200),
        ("get", "/api/v1/duplicates", "/api/v1/duplicates?x", "", "", 400),
        ("get", "/api/v1/upstreams", "/api/v1/upstreams", "", "", 200),
        ("get", "/api/v1/route", "/api/v1/route?client_id=documented", "", "", 200),
        ("get", "/api/v1/route", "/api/v1/route", "", "", 400),
        ("get", "/api/v1/route", "/api/v1/route?client_id=&pool=x", "", "", 404),
        ("get", "/api/v1/route", "/api/v1/route?client_id=a&listener=mqtt", "", "", 200),
        ("get", "/api/v1/route", "/api/v1/route?client_id=no&listener=mqtt", "", "", 200),
        ("get", "/api/v1/route", "/api/v1/route?client_id=a&listener=x", "", "", 404),
        ("get", "/api/v1/rules", "/api/v1/rules", "", "", 200),
        ("get", "/api/v1/rules", "/api/v1/rules?x", "", "", 400),
        ("patch", CHANGE_RULE, CANARY, as_json, r#"{ "percent": 12.5 }"#, 200),
        ("patch", CHANGE_RULE, CANARY, as_json, r#"{ "percent": null }"#, 200),
        ("patch", CHANGE_RULE, CANARY, as_json, r#"{ "percent": 101 }"#, 400),
        ("patch", CHANGE_RULE, CANARY, "", "{}", 415),
        ("patch", CHANGE_RULE, "/api/v1/listeners/mqtt/rules/x", as_json, "{}", 404),
        ("get", "/api/v1/sessions", "/api/v1/sessions", "", "", 200),
        ("get", "/api/v1/sessions", "/api/v1/sessions?limit=1&pool=brokers", "", "", 200),
        ("get", "/api/v1/sessions", "/api/v1/sessions?limit=0", "", "", 400),
        ("patch", CHANGE, B1, as_json, &*drain, 200),
        ("patch", CHANGE, B1, as_json, "{}", 400),
        ("patch", CHANGE, B1, "", "{}", 415),
        ("patch", CHANGE, "/api/v1/pools/brokers/upstreams/x", as_json, &drain, 404),
        ("get", "/readyz", "/readyz", "", "", 503),
        // After the change: a status that is not ready, a broker that drains.
        ("get", "/api/v1/status", "/api/v1/status", "", "", 200),
        ("get", "/api/v1/upstreams", "/api/v1/upstreams", "", "", 200),
        ("delete", "/api/v1/sessions/{id}", &kick, "", "", 204),
        ("delete", "/api/v1/sessions/{id}", "/api/v1/sessions/0", "", "", 404),
        ("post", "/api/v1/reload", "/api/v1/reload", "", "", 200),
        ("post", BANS, BANS, as_json, BAN, 200),
        ("post", BANS, BANS, as_json, "{}", 400),
        ("post", BANS, BANS, "", BAN, 415),
        ("get", BANS, "/api/v1/bans?limit=1", "", "", 200),
        ("get", BANS, "/api/v1/bans?limit=0", "", "", 400),
        ("delete", BANS, "/api/v1/bans?client_id=x", "", "", 204),
        ("delete", BANS, "/api/v1/bans?client_id=x", "", "", 404),
        ("delete", BANS, BANS, "", "", 400),
    ] {
        let told = ask(&proxy, &method.to_uppercase(), target, headers, body);
        assert_eq!(told.status, status, "{method} {target}: {told:?}");
        document.check(method, path, &told);
    }
    let good = std::fs::read(proxy.config_file()).unwrap();
    std::fs::write(proxy.config_file(), "colour: blue\n").unwrap();
    let told = ask(&proxy, "POST", "/api/v1/reload", "", "");
    assert_eq!(told.status, 422);
    document.check("post", "/api/v1/reload", &told);
    document.check("get", "/api/v1/status", &ask(&proxy, "GET", "/api/v1/status", "", ""));
    check_upgrades(&mut document, &proxy, &good);

    let paths = document.json["paths"].as_object().unwrap();
    let documented = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone()))
    });
    assert_eq!(document.checked, documented.collect());
}

/// An upgrade that is refused, one that fails at the present configuration, and one that succeeds
/// with `good`.
fn check_upgrades(document: &mut Document, proxy: &Proxy, good: &[u8]) {
    let told = ask(proxy, "POST", "/api/v1/upgrade?x", "", "");
    assert_eq!(told.status, 400);
    document.check("post", "/api/v1/upgrade", &told);
    let told = ask(proxy, "POST", "/api/v1/upgrade", "", "");
    assert_eq!(told.status, 422);
    document.check("post", "/api/v1/upgrade", &told);
    document.check("get", "/api/v1/status", &ask(proxy, "GET", "/api/v1/status", "", ""));
    std::fs::write(proxy.config_file(), good).unwrap();
    let told = ask(proxy, "POST", "/api/v1/upgrade", "", "");
    assert_eq!(told.status, 200);
    document.check("post", "/api/v1/upgrade", &told);
    proxy.follow(told.json()["pid"].as_u64().unwrap() as u32);
    document.check("get", "/api/v1/status", &ask(proxy, "GET", "/api/v1/status", "", ""));
}
