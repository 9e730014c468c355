//! `mqtt-lb ctl` and a running proxy.

use std::{fs, net::TcpListener};

use serde_json::{Value, json};

use super::http::{ask, get};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, CONNACK_V5, Client, Connect, connect},
    config::Config,
    harness::{Proxy, program, run},
    routing::{ids, route},
};

/// Exit code, standard output, standard error.
fn ctl_at(place: &str, args: &[&str]) -> (i32, String, String) {
    let output = run(&[&["ctl", "--admin", place], args].concat(), "");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

pub(crate) fn ctl(proxy: &Proxy, args: &[&str]) -> (i32, String, String) {
    ctl_at(&format!("http://{}", proxy.admin()), args)
}

/// What a command prints that succeeds.
#[track_caller]
pub(crate) fn printed(proxy: &Proxy, args: &[&str]) -> String {
    let (code, out, said) = ctl(proxy, args);
    assert_eq!((code, &*said), (0, ""), "{args:?}: {out}");
    out
}

#[track_caller]
pub(crate) fn json_of(proxy: &Proxy, args: &[&str]) -> Value {
    let out = printed(proxy, &[args, &["--json"]].concat());
    serde_json::from_str(&out).expect(&out)
}

/// The words of each line.
pub(crate) fn words(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn tables_and_json() {
    let brokers = [Broker::echoing(), Broker::echoing()];
    let proxy = Config::of(&brokers).workers(2).start();
    let name = "odd\u{1b}[2J \u{202e}id";
    let connect = Connect::new(4, name).username("anna").bytes();
    let _held = Client::exchange(proxy.address(), &connect, CONNACK_V3);
    let session = proxy.wait_connected(name);
    let (id, home) = (session["session"].as_str().unwrap(), session["upstream"].as_str().unwrap());

    let status = printed(&proxy, &["status"]);
    let lines = words(&status);
    assert!(lines.contains(&vec!["state", "ready"]), "{status}");
    assert!(lines.contains(&vec!["workers", "2"]), "{status}");
    let address = proxy.address().to_string();
    let listener =
        ["mqtt", &address, "tcp", "brokers", "1", "1", "3", "0,", "4", "1,", "5", "0"].to_vec();
    assert!(lines.contains(&listener), "{status}");
    assert_eq!(json_of(&proxy, &["status"])["connections_open"], 1);

    let upstreams = printed(&proxy, &["upstreams"]);
    let titles = "POOL UPSTREAM ADDRESS STATUS SERVING STATE WEIGHT SESSIONS CONNACKS";
    let lines = words(&upstreams);
    assert_eq!(lines[0].join(" "), titles);
    let here = brokers[usize::from(home == "b2")].address.to_string();
    let row = ["brokers", home, &here, "up", "yes", "ready", "1", "1", "accepted", "1"].to_vec();
    assert!(lines[1..].contains(&row), "{upstreams}");
    assert_eq!(lines.len(), 3);
    assert_eq!(json_of(&proxy, &["upstreams"])["pools"][0]["upstreams"][1]["name"], "b2");
    assert_eq!(printed(&proxy, &["upstreams", "--pool", "brokers"]), upstreams);

    let sessions = printed(&proxy, &["sessions"]);
    let shown = format!("{id}  odd\\u{{1b}}[2J \\u{{202e}}id  anna ");
    assert!(sessions.lines().nth(1).unwrap().starts_with(&shown), "{sessions}");
    assert_eq!(json_of(&proxy, &["sessions"])["sessions"][0]["client_id"], name);
    for (args, count) in [
        (&["--client-id", name][..], 1),
        (&["--client-id", "other"], 0),
        (&["--username", "anna", "--upstream", home, "--listener", "mqtt", "--all"], 1),
        (&["--upstream", "b9"], 0),
    ] {
        let found = json_of(&proxy, &[&["sessions"], args].concat());
        assert_eq!(found["sessions"].as_array().unwrap().len(), count, "{args:?}");
    }

    let ids = ids();
    let orders = route(&proxy, &[], &ids[..1]);
    let routed = printed(&proxy, &["route", &ids[0]]);
    let row = ["brokers", &*orders[0][0], "-", &*orders[0][0], &*orders[0][1]].to_vec();
    assert_eq!(words(&routed)[1], row, "{routed}");
    assert_eq!(words(&printed(&proxy, &["route", name]))[1][2], home);

    let log = printed(&proxy, &["log"]);
    assert!(log.contains(&format!("INFO listening listener=mqtt address={address}\n")), "{log}");
    assert_eq!(printed(&proxy, &["health"]), "ready\n");
}

#[test]
fn brokers_are_steered() {
    let brokers = [Broker::echoing(), Broker::echoing()];
    let proxy = Config::of(&brokers).start();
    for (args, said, state) in [
        (&["drain", "b1"][..], "brokers/b1: draining, weight 1, sessions 0\n", "drain"),
        (
            &["down", "b1", "--pool", "brokers"],
            "brokers/b1: set_down, weight 1, sessions 0\n",
            "down",
        ),
        (&["weight", "b1", "7"], "brokers/b1: set_down, weight 7 (not 1), sessions 0\n", "down"),
        (&["ready", "b1"], "brokers/b1: up, weight 7 (not 1), sessions 0\n", "ready"),
        (&["weight", "b1", "default"], "brokers/b1: up, weight 1, sessions 0\n", "ready"),
    ] {
        assert_eq!(printed(&proxy, args), said);
        assert_eq!(get(&proxy, "/api/v1/upstreams")["pools"][0]["upstreams"][0]["state"], state);
    }
    assert_eq!(json_of(&proxy, &["drain", "b2"])["state"], "drain");
    assert_eq!(printed(&proxy, &["drain", "b1"]), "brokers/b1: draining, weight 1, sessions 0\n");
    let (code, out, said) = ctl(&proxy, &["health"]);
    assert_eq!((code, &*out), (1, ""));
    let why = "mqtt-lb ctl: not ready: no pool has a broker that takes sessions\n";
    assert_eq!(said, why);
}

#[test]
fn sessions_are_kicked_and_counted_page_by_page() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let mut held: Vec<_> = (0..101)
        .map(|n| Client::exchange(proxy.address(), &connect(5, &format!("c{n}")), CONNACK_V5))
        .collect();
    proxy.wait_connected("c100");
    let some = printed(&proxy, &["sessions"]);
    assert_eq!(some.lines().count(), 102);
    assert_eq!(some.lines().last(), Some("there are more; --all lists them"));
    assert_eq!(printed(&proxy, &["sessions", "--all"]).lines().count(), 102);

    let id = get(&proxy, "/api/v1/sessions?client_id=c100")["sessions"][0]["id"].take();
    assert_eq!(printed(&proxy, &["kick", id.as_str().unwrap()]), "");
    assert_eq!(held.pop().unwrap().rest(), (b"\xE0\x01\x98".to_vec(), Ok(())));
    let (code, _, said) = ctl(&proxy, &["kick", id.as_str().unwrap()]);
    assert_eq!((code, said), (1, format!("mqtt-lb ctl: no session {}\n", id.as_str().unwrap())));
}

#[test]
fn where_the_proxy_is() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("admin.token"), "s3cret\n").unwrap();
    let admin = "admin: { bind: \"0.0.0.0:0\", token_file: admin.token }";
    let text = Config::of([&broker]).text().replace("admin: { bind: \"127.0.0.1:0\" }", admin);
    let proxy = Proxy::start_in(dir, &text, |_| program());
    let port = proxy.admin().port();
    // From its configuration, even if that has come to be wrong elsewhere.
    let text = text.replace("0.0.0.0:0", &format!("0.0.0.0:{port}"));
    let faulty = text.replace("pool: brokers", "pool: none").replace("b1", "b 1");
    for (name, text) in [("same.yaml", &text), ("faulty.yaml", &faulty)] {
        let file = proxy.path(name);
        fs::write(&file, text).unwrap();
        let output = run(&["ctl", "-c", file.to_str().unwrap(), "upstreams", "--json"], "");
        assert!(output.status.success(), "{output:?}");
    }
    let place = format!("http://127.0.0.1:{port}");
    let wrong = proxy.path("wrong.token");
    fs::write(&wrong, "s3creT").unwrap();
    let wrong = wrong.to_str().unwrap();
    let right = proxy.path("admin.token");
    let with = |variable: Option<&str>, args: &[&str]| {
        let mut command = program();
        command.env_remove("MQTT_LB_TOKEN");
        command.envs(variable.map(|token| ("MQTT_LB_TOKEN", token)));
        let output = command.args(["ctl", "--admin", &place]).args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(with(Some("s3cret"), &["status"]), (0, String::new()));
    let file = ["--token-file", right.to_str().unwrap(), "status"];
    assert_eq!(with(Some("other"), &file), (0, String::new()), "the argument comes first");
    assert_eq!(with(None, &["health"]), (0, String::new()), "which needs no token");
    for (variable, args, code, says) in [
        (
            None,
            &["status"][..],
            1,
            "the proxy requires a token: pass it with --token-file".to_owned(),
        ),
        (Some("x"), &["status"], 1, "the proxy refuses the token of MQTT_LB_TOKEN".to_owned()),
        (None, &["--token-file", wrong, "status"], 1, format!("the token of {wrong}")),
        (Some("a b"), &["status"], 2, "invalid token in MQTT_LB_TOKEN".to_owned()),
        (
            None,
            &["--token-file", "/none", "status"],
            2,
            "cannot read --token-file /none".to_owned(),
        ),
    ] {
        let (exit, said) = with(variable, args);
        assert_eq!(exit, code, "{said}");
        assert!(said.starts_with("mqtt-lb ctl: ") && said.contains(&says), "{said}");
        assert!(!said.contains("s3creT"), "{said}");
    }
}

#[test]
fn a_unix_socket() {
    let broker = Broker::echoing();
    let text = Config::of([&broker]).text();
    let text = text.replace("bind: \"127.0.0.1:0\" }", "bind: \"unix:admin.sock\" }");
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let proxy = Proxy::spawn(dir, &text, |_| program());
    crate::harness::wait_for("the socket", || socket.exists().then_some(()));
    let place = format!("unix:{}", socket.display());
    assert_eq!(ctl_at(&place, &["health"]), (0, "ready\n".to_owned(), String::new()));
    let (code, out, said) = ctl_at(&place, &["upstreams"]);
    assert_eq!((code, words(&out).len(), &*said), (0, 2, ""));
    drop(proxy);
}

#[test]
fn what_does_not_work_is_said() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, said) = ctl_at(&free.to_string(), &["status"]);
    let wanted = format!(
        "mqtt-lb ctl: cannot connect to the proxy at {free}: Connection refused (os error 111); is it \
         running, and is this the `admin.bind` of its configuration?\n"
    );
    assert_eq!((code, said), (1, wanted));
    for (args, code, says) in [
        (&["drain", "b9"][..], 1, "no pool has a broker b9"),
        (&["drain", "b1", "--pool", "p"], 1, "no pool p; the configuration has brokers"),
        (&["upstreams", "--pool", "p"], 1, "no pool p; the configuration has brokers"),
        (&["kick", "../status"], 1, "no session ../status"),
        (&["weight", "b1", "0"], 2, "allowed: 1 to 65535, or default"),
        (&["weight", "b1", "65536"], 2, "allowed: 1 to 65535, or default"),
        (&["route", "x", "--source", "here"], 2, "invalid IP address"),
        (&["fly"], 2, "unrecognized subcommand"),
    ] {
        let (exit, _, said) = ctl(&proxy, args);
        assert_eq!(exit, code, "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    // What listens there speaks MQTT.
    let (code, _, said) = ctl_at(&proxy.address().to_string(), &["status"]);
    assert_eq!(code, 1);
    assert!(said.contains("is not an admin listener"), "{said}");
    for (config, says) in [
        (Config::of([&broker]).text().replace("admin:", "#admin:"), "has no `admin`"),
        (Config::of([&broker]).text(), "admin.bind has port 0"),
        ("listeners: [".to_owned(), "name its configuration with -c, or its address with --admin"),
    ] {
        let file = proxy.path("other.yaml");
        fs::write(&file, config).unwrap();
        let output = run(&["ctl", "-c", file.to_str().unwrap(), "status"], "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
    for url in ["https://127.0.0.1:1", "ftp://x:1", "unix:"] {
        assert_eq!(ctl_at(url, &["status"]).0, 2, "{url}");
    }
}

#[test]
fn a_reload_that_is_refused_says_each_fault() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    fs::write(proxy.config_file(), "colour: blue\n").unwrap();
    let (code, out, said) = ctl(&proxy, &["reload"]);
    assert_eq!((code, &*out), (1, ""));
    let mut lines = said.lines();
    let first = "mqtt-lb ctl: the configuration is invalid; nothing has changed";
    assert_eq!(lines.next(), Some(first));
    let faults = get(&proxy, "/api/v1/status")["config"]["last_reload"]["faults"].take();
    let faults: Vec<_> =
        faults.as_array().unwrap().iter().map(|it| format!("  {}", it.as_str().unwrap())).collect();
    assert_eq!(lines.collect::<Vec<_>>(), faults);
    assert_eq!(json!(faults).as_array().map(Vec::is_empty), Some(false));
}

/// What `check --print` prints of a file.
#[track_caller]
fn checked(file: &str) -> String {
    let output = run(&["check", "--print", "-c", file], "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_configuration_in_force() {
    let broker = Broker::echoing();
    let text = Config::of([&broker]).text();
    let proxy = Config::of([&broker]).start();
    let file = proxy.config_file();
    let wanted = checked(&file);
    let answer = ask(&proxy, "GET", "/api/v1/config", "", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/yaml")));
    assert_eq!(answer.body, wanted);
    assert_eq!(printed(&proxy, &["config"]), wanted);
    let as_json: Value = serde_yaml::from_str(&wanted).unwrap();
    assert_eq!(json_of(&proxy, &["config"]), as_json);
    // It reads back as the same configuration.
    let copy = format!("{file}.copy");
    fs::write(&copy, &wanted).unwrap();
    assert_eq!(checked(&copy), wanted);

    fs::write(&file, "colour: blue\n").unwrap();
    assert_eq!(ctl(&proxy, &["reload"]).0, 1);
    assert_eq!(printed(&proxy, &["config"]), wanted);

    fs::write(&file, format!("{text}\ndrain: {{ timeout: 7s }}\n")).unwrap();
    assert_eq!(ctl(&proxy, &["reload"]).0, 0);
    let reloaded = printed(&proxy, &["config"]);
    assert_eq!(reloaded, checked(&file));
    assert_ne!(reloaded, wanted);
}
