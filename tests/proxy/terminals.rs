//! What clients, operators and brokers choose, on its way to a terminal and into the logs.

use std::{fs, io::Write, process::Stdio};

use mqtt_lb::testing::escape::is_unsafe;
use serde_json::Value;

use crate::{
    admin::http::get,
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connack},
    config::Config,
    harness::{program, run, wait_for},
};

const CONFIG: &str = "\
listeners: [ { name: mqtt, bind: \"127.0.0.1:1883\", pool: brokers } ]
pools: [ { name: brokers, upstreams: [ { name: one, address: \"10.0.0.1:1883\" } ] } ]
";

/// What a client could have as its ID, and how it is to be read.
const HOSTILE: [(&str, &str); 9] = [
    ("x\tb9", r"x\tb9"),
    ("x\rb9\u{b}\u{8}", r"x\rb9\u{b}\u{8}"),
    ("dev\u{1b}]0;pwned\u{7}\u{1b}[2J", r"dev\u{1b}]0;pwned\u{7}\u{1b}[2J"),
    ("y\u{9b}31mz\u{7f}\u{85}", r"y\u{9b}31mz\u{7f}\u{85}"),
    ("\u{2028}\u{2029}.", r"\u{2028}\u{2029}."),
    (
        "a\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}b",
        r"a\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}b",
    ),
    (
        "u\u{200b}\u{200d}n\u{2060}s\u{2064}e\u{feff}e\u{ad}n\u{180e}\u{3164}",
        r"u\u{200b}\u{200d}n\u{2060}s\u{2064}e\u{feff}e\u{ad}n\u{180e}\u{3164}",
    ),
    ("t\u{e0041}a\u{e007f}g\u{e0000}", r"t\u{e0041}a\u{e007f}g\u{e0000}"),
    ("häus-温度-🌡-حساس \\t", "häus-温度-🌡-حساس \\t"),
];

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(!text.replace(['\n', '\t'], "").contains(is_unsafe), "{text:?}");
    text
}

/// A folder with a configuration, and the path of that.
fn config(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lb.yaml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

#[test]
fn route_prints_a_line_of_two_columns_for_each_id() {
    let (_dir, file) = config(CONFIG);
    let ids: Vec<_> = HOSTILE.iter().map(|(id, _)| *id).collect();
    let wanted: String = HOSTILE.iter().flat_map(|(_, shown)| [shown, "\tone\n"]).collect();
    let told = run(&[&["route", "-c", &file], &ids[..]].concat(), "");
    assert_eq!((told.status.code(), text(&told.stdout)), (Some(0), wanted.clone()));
    let told = run(&["route", "-c", &file, "-"], &(ids.join("\n") + "\n"));
    assert_eq!((told.status.code(), text(&told.stdout)), (Some(0), wanted));
    // A line feed forges no row.
    let told = run(&["route", "-c", &file, "a\none\tb\tone"], "");
    assert_eq!(text(&told.stdout), "a\\none\\tb\\tone\tone\n");
}

#[test]
fn route_as_json_says_the_same_after_parsing() {
    let (_dir, file) = config(CONFIG);
    let ids: Vec<_> = HOSTILE.iter().map(|(id, _)| *id).collect();
    let told = run(&[&["route", "-c", &file, "--json"], &ids[..]].concat(), "");
    let lines = text(&told.stdout);
    assert!(lines.contains(r#""t\udb40\udc41a\udb40\udc7fg\udb40\udc00""#), "{lines}");
    assert!(lines.contains(r#""y\u009b31mz\u007f\u0085""#), "{lines}");
    let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.iter().map(|one| one["client_id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
}

#[test]
fn route_leaves_out_lines_that_are_not_utf_8_and_fails_at_the_end() {
    let (_dir, file) = config(CONFIG);
    let (_other, other) = config(&CONFIG.replace("one", "two"));
    let fed = |more: &[&str]| {
        let mut child = program()
            .args(["route", "-c", &file])
            .args(more)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ids = b"first\nbad\xff\n\xc3\nthird\r\n\xed\xa0\x80\nlast";
        child.stdin.take().unwrap().write_all(ids).unwrap();
        let told = child.wait_with_output().unwrap();
        let said = text(&told.stderr);
        let lines: Vec<_> =
            said.lines().map(|line| line.split(" skipped").next().unwrap()).collect();
        let wanted = [2, 3, 5].map(|line| format!("mqtt-lb route: line {line}"));
        assert_eq!(lines, wanted, "{said}");
        (told.status.code(), text(&told.stdout))
    };
    assert_eq!(fed(&[]), (Some(1), "first\tone\nthird\tone\nlast\tone\n".to_owned()));
    let (code, out) = fed(&["--json"]);
    assert_eq!((code, out.lines().count()), (Some(1), 3));
    let moved = "3 of 3 client IDs move (100.00 %)\none -> two: 3\n".to_owned();
    assert_eq!(fed(&["--against", &other]), (Some(1), moved));
}

#[test]
fn ctl_prints_a_row_for_each_session_and_json_that_says_the_same() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let held: Vec<_> = HOSTILE
        .iter()
        .map(|(id, _)| {
            let connect = Connect::new(4, id).username(id).bytes();
            Client::exchange(proxy.address(), &connect, CONNACK_V3)
        })
        .collect();
    let admin = format!("http://{}", proxy.admin());
    let table = run(&["ctl", "--admin", &admin, "sessions"], "");
    let table = text(&table.stdout);
    assert!(!table.contains('\t'), "{table}");
    assert_eq!(table.lines().count(), 1 + held.len());
    for (_, shown) in HOSTILE {
        let row = table.lines().find(|row| row.matches(shown).count() == 2);
        assert!(row.is_some_and(|row| row.contains("  brokers/b1  ")), "{shown} in {table}");
    }
    let json = run(&["ctl", "--admin", &admin, "--json", "sessions"], "");
    let json = text(&json.stdout);
    assert_eq!(json.matches('\n').count(), 1);
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told, get_sessions(&proxy, &told));
    let mut ids: Vec<_> =
        told["sessions"].as_array().unwrap().iter().map(|one| &one["client_id"]).collect();
    ids.sort_unstable_by_key(|id| id.as_str());
    let mut wanted: Vec<_> = HOSTILE.iter().map(|(id, _)| Value::from(*id)).collect();
    wanted.sort_unstable_by(|a, b| a.as_str().cmp(&b.as_str()));
    assert_eq!(ids, wanted.iter().collect::<Vec<_>>());
}

/// What the API says of them, with the times that `told` has.
fn get_sessions(proxy: &crate::harness::Proxy, told: &Value) -> Value {
    let mut said = get(proxy, "/api/v1/sessions");
    let rows = told["sessions"].as_array().unwrap();
    for (one, row) in said["sessions"].as_array_mut().unwrap().iter_mut().zip(rows) {
        one["duration_s"].clone_from(&row["duration_s"]);
    }
    said
}

/// Faults, on standard error and in the program's log as text and as JSON.
#[test]
fn what_a_file_has_in_it_stays_on_its_line() {
    let broker = Broker::echoing();
    let key = "colour\u{1b}[2J\u{202e}\u{200b}\u{e0041}";
    let fault = "\"colour\\e[2J\\u202e\\u200b\\U000e0041\": blue\n";
    for format in ["text", "json"] {
        let mut good = Config::of([&broker]);
        good.log_level = if format == "json" { "info, format: json" } else { "info" };
        let mut proxy = good.start();
        fs::write(proxy.config_file(), good.text() + fault).unwrap();
        let check = run(&["check", "-c", &proxy.config_file()], "");
        assert_eq!(check.status.code(), Some(2));
        let said = text(&check.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("colour") && said.contains("[2J"), "{said}");

        proxy.signal(rustix::process::Signal::HUP);
        proxy.wait_stderr("not reloaded");
        let line = proxy.stderr().into_iter().find(|line| line.contains("[2J")).unwrap();
        text(line.as_bytes());
        if format == "json" {
            let read: Value = serde_json::from_str(&line).unwrap();
            let message = read["fields"]["message"].as_str().unwrap();
            assert!(message.contains(key) || message.contains(&format!("{key:?}")), "{message}");
        }
        proxy.signal(rustix::process::Signal::TERM);
        proxy.wait_exit();
    }
}

/// Six bytes for each: as long as CONNECT and the log allow, from somebody without credentials.
#[test]
fn a_value_of_a_line_has_its_end_in_every_format() {
    let broker = Broker::start(|mut link| {
        link.read_packet();
        let _ = link.stream.write_all(&connack(4, 5));
    });
    let mut config = Config::of([&broker]).more("limits: { connect_packet: 256KiB }");
    config.access_log = "{ path: access.log }, { path: text.log, format: text }, \
         { path: own.log, format: '${event} \"${client_id}\" \"${username}\" ${end_cause}' }"
        .to_owned();
    let proxy = config.start();
    let (id, name) = ("\u{1}".repeat(65_535), "\"".repeat(32_000) + "é\u{e0001}");
    let connect = Connect::new(4, &id).username(&name).bytes();
    Client::exchange(proxy.address(), &connect, &connack(4, 5));
    let read = |file: &str| {
        wait_for(file, || {
            let text = fs::read_to_string(proxy.path(file)).unwrap();
            text.ends_with('\n').then_some(text)
        })
    };
    let line = read("access.log");
    assert!(line.len() < 10_000, "{}", line.len());
    // 682 times six bytes, 2,048 times two.
    let fields: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(fields["client_id"], "\u{1}".repeat(682) + "…(+64853 bytes)");
    assert_eq!(fields["username"], "\"".repeat(2048) + "…(+29958 bytes)");
    let id = "\\x01".repeat(1024) + "…(+64511 bytes)";
    let name = "\\x22".repeat(1024) + "…(+30982 bytes)";
    assert_eq!(read("own.log"), format!("reject \"{id}\" \"{name}\" refused\n"));
    let text = read("text.log");
    assert!(text.contains(&format!(" clientid: [{id}] username: [{name}] ")), "{text}");
}

/// A client ID of 65,535 bytes, whole for those who ask for it.
#[test]
fn the_api_tells_it_whole() {
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).more("limits: { connect_packet: 256KiB }").start();
    let id = "\u{1b}i".repeat(32_767);
    let _held = Client::session(proxy.address(), &id);
    assert_eq!(get(&proxy, "/api/v1/sessions")["sessions"][0]["client_id"], id);
}
