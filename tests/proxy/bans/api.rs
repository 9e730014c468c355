//! The API of bans, and `ctl`.

use serde_json::{Value, json};

use super::{ban, bans, post};
use crate::{
    admin::http::{ask, get},
    broker::Broker,
    config::Config,
    harness::{Proxy, run},
};

fn ctl(proxy: &Proxy, args: &[&str]) -> (i32, String, String) {
    let place = format!("http://{}", proxy.admin());
    let output = run(&[&["ctl", "--admin", &place], args].concat(), "");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn ctl_bans_lists_and_unbans() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let name = "odd\u{1b}[2J & id";
    for args in [
        &["ban", "--ip", "2001:db8::1", "--for", "10m", "--reason", "stolen at the fair"][..],
        &["ban", "--client-id", name, "--for", "1h"],
        &["ban", "--username", "anna", "--for", "90s"],
    ] {
        assert_eq!(ctl(&proxy, args), (0, String::new(), String::new()), "{args:?}");
    }
    let (code, table, _) = ctl(&proxy, &["bans"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!((code, lines.len()), (0, 4), "{table}");
    assert!(lines[0].starts_with("KIND"), "{table}");
    assert!(lines[1].starts_with("username   anna"), "{table}");
    assert!(lines[2].contains("odd\\u{1b}[2J & id"), "{table}");
    assert!(lines[3].ends_with("stolen at the fair"), "{table}");
    let (_, listed, _) = ctl(&proxy, &["bans", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["total"], &listed["bans"][2]["value"]), (&3.into(), &"2001:db8::1".into()));
    let remaining = listed["bans"][2]["remaining_s"].as_f64().unwrap();
    assert!((500.0..=600.0).contains(&remaining));

    assert_eq!(ctl(&proxy, &["unban", "--client-id", name]).0, 0);
    let (code, _, said) = ctl(&proxy, &["unban", "--client-id", name]);
    assert_eq!(code, 1);
    assert!(said.contains("no ban of client_id odd"), "{said}");
    assert_eq!(ctl(&proxy, &["unban", "--all"]).0, 0);
    assert!(bans(&proxy).is_empty());
    for args in [
        &["ban", "--for", "1m"][..],
        &["ban", "--ip", "10.0.0.1", "--username", "x", "--for", "1m"],
        &["ban", "--ip", "10.0.0.1"],
        &["ban", "--ip", "10.0.0.1", "--for", "0s"],
        &["ban", "--ip", "10.0.0.1", "--for", "8761h"],
        &["ban", "--ip", "10.0.0.1", "--for", "5"],
        &["unban"],
        &["unban", "--all", "--ip", "10.0.0.1"],
    ] {
        assert_eq!(ctl(&proxy, args).0, 2, "{args:?}");
    }
}

/// A ban of what the operator needs is imposed, with a warning.
#[test]
fn likely_mistakes_are_warned_of() {
    let broker = Broker::echoing();
    let proxy = Config::at(["198.51.100.5:1883"]).start();
    for (value, said) in [
        ("127.0.0.1", "the address that the request came from"),
        ("127.0.0.0/8", "the address that the request came from"),
        ("127.9.9.9", "loopback addresses"),
        ("::1", "loopback addresses"),
        ("198.51.100.0/24", "198.51.100.5, the address of a broker"),
        ("198.51.100.5", "198.51.100.5, the address of a broker"),
    ] {
        let warnings = ban(&proxy, "ip", value, 60);
        assert_eq!(warnings.len(), 1, "{value}");
        assert!(warnings[0].as_str().unwrap().contains(said), "{warnings:?}");
        proxy.wait_stderr(said);
    }
    assert!(ban(&proxy, "ip", "198.51.101.5", 60).is_empty());
    assert!(ban(&proxy, "username", "127.0.0.1", 60).is_empty());
    let (code, out, _) = ctl(&proxy, &["ban", "--ip", "127.0.0.1", "--for", "1m"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("warning: the ban of 127.0.0.1"), "{out}");
    drop(broker);
}

#[test]
fn bad_requests_change_nothing() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let one = |kind: &str, value: &str, more: Value| {
        let mut one = json!({ "kind": kind, "value": value, "for_s": 60 });
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "bans": [{ "kind": "username", "value": "fine", "for_s": 60 }, one] })
    };
    let none = json!({});
    for body in [
        json!({}),
        json!([]),
        json!({ "bans": [] }),
        json!({ "bans": {} }),
        one("ip", "localhost", none.clone()),
        one("ip", "10.0.0.1/33", none.clone()),
        one("ip", "", none.clone()),
        one("client_id", "", none.clone()),
        one("clientid", "x", none.clone()),
        one("username", "x", json!({ "for_s": 0 })),
        one("username", "x", json!({ "for_s": 31_536_001 })),
        one("username", "x", json!({ "for_s": "10m" })),
        one("username", "x", json!({ "for_s": 1.5 })),
        one("username", "x", json!({ "comment": "x".repeat(201) })),
        one("username", "x", json!({ "colour": "blue" })),
    ] {
        let told = post(&proxy, &body);
        assert_eq!(told.status, 400, "{body}");
        assert!(!told.error().is_empty());
    }
    assert!(bans(&proxy).is_empty());
    for query in ["", "?ip=10.0.0.1&all=true", "?all=yes", "?ip=x", "?name=x", "?client_id="] {
        let told = ask(&proxy, "DELETE", &format!("/api/v1/bans{query}"), "", "");
        assert_eq!(told.status, 400, "{query}");
    }
    assert_eq!(ask(&proxy, "DELETE", "/api/v1/bans?ip=10.0.0.1", "", "").status, 404);
    for query in ["?limit=0", "?limit=1001", "?cursor=x", "?cursor=1234567890abcdeg"] {
        let told = ask(&proxy, "GET", &format!("/api/v1/bans{query}"), "", "");
        assert_eq!(told.status, 400, "{query}");
    }
    assert_eq!(ask(&proxy, "PUT", "/api/v1/bans", "", "").status, 405);
    // Long names are listed by their start, which is what is compared.
    let long = "é".repeat(3000);
    ban(&proxy, "client_id", &long, 60);
    let listed = get(&proxy, "/api/v1/bans");
    assert_eq!(listed["bans"][0]["value"], "é".repeat(512));
    assert_eq!(listed["total"], 1);
}
