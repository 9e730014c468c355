//! Reload: another configuration, while sessions go on.

mod hanging;
mod listeners;
mod logs;
mod many;
mod refused;
mod remembered;
mod removed;

use std::{collections::HashMap, fs};

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, end, program, run, wait_for},
    routing::{brokers, ids, route, visit},
};

const TAKEN: &str = "reloaded; sessions are kept";
const REFUSED: &str = "not reloaded: the configuration is unchanged";

/// Puts `config` in place and has the proxy read it. Returns what it said to it.
#[track_caller]
pub(crate) fn reload(proxy: &Proxy, config: &str) -> Vec<String> {
    fs::write(proxy.config_file(), config).unwrap();
    let before = proxy.stderr().len();
    proxy.signal(Signal::HUP);
    wait_for("the end of a reload", || {
        let said = proxy.stderr().split_off(before);
        let over = |line: &String| line.contains(TAKEN) || line.contains(REFUSED);
        said.iter().any(over).then_some(said)
    })
}

#[track_caller]
pub(crate) fn take(proxy: &Proxy, config: &Config) -> Vec<String> {
    let said = reload(proxy, &config.text());
    assert!(said.iter().any(|line| line.contains(TAKEN)), "{said:#?}");
    said
}

#[track_caller]
pub(crate) fn refuse(proxy: &Proxy, config: &Config) -> Vec<String> {
    let said = reload(proxy, &config.text());
    assert!(said.iter().any(|line| line.contains(REFUSED)), "{said:#?}");
    said
}

#[track_caller]
fn says(said: &[String], part: &str) {
    assert!(said.iter().any(|line| line.contains(part)), "{part} is not in {said:#?}");
}

/// A session for each ID, kept.
fn sessions(proxy: &Proxy, ids: &[String]) -> HashMap<String, Client> {
    let session = |id: &String| (id.clone(), Client::session(proxy.address(), id));
    ids.iter().map(session).collect()
}

fn ping_all(sessions: &mut HashMap<String, Client>) {
    for session in sessions.values_mut() {
        session.echo(b"\xC0\x00");
    }
}

#[test]
fn a_broker_is_added_where_route_says_and_no_session_ends() {
    let [b1, b2, b3] = brokers();
    let config = Config::of([&b1, &b2]).workers(2);
    let proxy = config.start();
    let mut there = sessions(&proxy, &ids());
    let said = take(&proxy, &Config::of([&b1, &b2, &b3]).workers(2));
    says(&said, "pool brokers: b3 added");
    ping_all(&mut there);
    assert!(proxy.log().iter().all(|line| line["event"] == "connect"));
    drop(there);
    proxy.wait_ends(ids().len());
    let routes = route(&proxy, &[], &ids());
    let ends = visit(&proxy, &ids());
    for (id, route) in ids().iter().zip(routes) {
        assert_eq!(ends[id]["upstream"], *route[0], "{id}");
        assert_eq!(ends[id]["route"], "hash");
    }
    assert!(b3.connections() > 0);
    assert!(
        (proxy.metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""]) - 1.0).abs() < 0.1
    );
}

#[test]
fn weight_and_rank_hold_for_new_clients() {
    let [b1, b2] = brokers();
    let mut config = Config::of([&b1, &b2]);
    let proxy = config.start();
    let mut there = sessions(&proxy, &ids());
    config.upstreams[1] = config.upstreams[1].replace(" }", ", backup: true }");
    says(&take(&proxy, &config), "pool brokers: b2 changed");
    let before = b2.connections();
    visit(&proxy, &(0..50).map(|n| format!("new-{n}")).collect::<Vec<_>>());
    assert_eq!(b2.connections(), before);
    ping_all(&mut there);
}

/// A broker is known by its name. Who is there stays at the old address.
#[test]
fn a_broker_that_moves_keeps_its_clients_and_its_sessions() {
    let [b1, b2, moved] = brokers();
    let proxy = Config::of([&b1, &b2]).start();
    let before = route(&proxy, &[], &ids());
    let mut there = sessions(&proxy, &ids());
    let (old, stayed) = (b2.connections(), b1.connections());
    assert!(old > 20);
    says(&take(&proxy, &Config::of([&b1, &moved])), "pool brokers: b2 changed");
    assert_eq!(route(&proxy, &[], &ids()), before);
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &["upstream=\"b2\""], old as f64);
    ping_all(&mut there);
    visit(&proxy, &ids());
    assert_eq!((b1.connections(), b2.connections()), (2 * stayed, old));
    assert_eq!(moved.connections(), old);
    drop(there);
    proxy.wait_metric("mqtt_lb_upstream_sessions_active", &["upstream=\"b2\""], 0.0);
}

#[test]
fn a_handshake_that_is_under_way_goes_on() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let slow = Broker::start(move |mut link| {
        link.read_packet().unwrap();
        let _ = told.lock().unwrap().recv();
        link.send(CONNACK_V3);
        let _ = std::io::copy(&mut link.stream.try_clone().unwrap(), &mut link.stream);
    });
    let [other] = brokers();
    let proxy = Config::of([&slow]).start();
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "slow"));
    slow.wait_connections(1);
    let mut config = Config::of([&slow]);
    config.upstreams.push(format!("{{ name: b9, address: \"{}\" }}", other.address));
    take(&proxy, &config);
    tell.send(()).unwrap();
    client.expect(CONNACK_V3);
    client.echo(b"\xC0\x00");
    assert_eq!(proxy.wait_connected("slow")["upstream"], "b1");
}

#[test]
fn limits_hold_for_those_who_are_there() {
    let [broker] = brokers();
    let proxy = Config::of([&broker]).start();
    let mut there = sessions(&proxy, &ids()[..5]);
    let limited = |limit: &str| Config::of([&broker]).more(&format!("limits: {{ {limit} }}"));
    says(&take(&proxy, &limited("max_connections_per_ip: 5")), "limits: changed");
    Client::exchange(proxy.address(), &connect(4, "one-more"), b"\x20\x02\x00\x03").expect_end();
    assert_eq!(end(&proxy.wait_end("one-more")), "proxy/connect/limit");
    ping_all(&mut there);
    there.remove("sensor-0");
    proxy.wait_end("sensor-0");
    let next = Client::session(proxy.address(), "in-its-place");
    take(&proxy, &limited("max_connections: 6"));
    let another = Client::session(proxy.address(), "the-sixth");
    Client::exchange(proxy.address(), &connect(4, "the-seventh"), b"\x20\x02\x00\x03").expect_end();
    take(&proxy, &limited("connect_packet: 256"));
    drop((next, another));
    let long = "x".repeat(300);
    Client::open(proxy.address()).send(&connect(4, &long));
    proxy.wait_log("a long CONNECT", |line| end(line) == "proxy/connect/malformed");
    ping_all(&mut there);
}

#[test]
fn logs_change_with_their_places_and_levels() {
    let [broker] = brokers();
    let mut config = Config::of([&broker]);
    let proxy = config.start();
    let mut there = sessions(&proxy, &ids()[..3]);
    config.access_log = "{ path: second.log, format: \"${event} ${client_id}\" }".to_owned();
    config.log_level = "debug";
    let said = take(&proxy, &config);
    says(&said, "access_log: changed");
    says(&said, "log: changed");
    ping_all(&mut there);
    drop(there);
    let second = || fs::read_to_string(proxy.path("second.log")).unwrap_or_default();
    let lines = wait_for("three ends in the second log", || {
        let mut lines: Vec<_> = second().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        (lines.len() == 3).then_some(lines)
    });
    let wanted = [0, 1, 2].map(|n| format!("disconnect sensor-{n}"));
    assert_eq!(lines, wanted);
    assert_eq!(proxy.log().len(), 3, "the sessions' connects, in the first");
    Client::open(broker_that_is_away(&proxy, &mut config)).send(&connect(4, "debugged"));
    proxy.wait_stderr("dial failed");
    assert_eq!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as u64, 0);
}

/// Has the pool's one broker be away, of which only the debug level tells.
fn broker_that_is_away(proxy: &Proxy, config: &mut Config) -> std::net::SocketAddr {
    config.upstreams = vec!["{ name: away, address: \"127.0.0.1:1\" }".to_owned()];
    take(proxy, config);
    proxy.address()
}

#[test]
fn a_drain_outlives_a_reload() {
    let [b1, b2, b3] = brokers();
    let proxy = Config::of([&b1, &b2]).start();
    let ctl = |words: &[&str]| {
        let place = format!("http://{}", proxy.admin());
        let output = run(&[&["ctl", "--admin", &place], words].concat(), "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ctl(&["drain", "b2"]);
    fs::write(proxy.config_file(), Config::of([&b1, &b2, &b3]).text()).unwrap();
    let said = ctl(&["reload"]);
    assert_eq!(said, "applied as generation 2\n  pool brokers: b3 added\n");
    visit(&proxy, &ids());
    assert_eq!(b2.connections(), 0);
    assert!(b1.connections() > 0 && b3.connections() > 0);
    ctl(&["ready", "b2"]);
    let before = proxy.log().len();
    visit(&proxy, &ids());
    assert!(b2.connections() > 0);
    let routes: Vec<_> = proxy.log().split_off(before);
    assert!(routes.iter().all(|line| line["route"] == "hash"));
}

/// The old token is no longer accepted.
#[test]
fn a_token_is_renewed() {
    let [broker] = brokers();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("admin.token");
    fs::write(&token, "first\n").unwrap();
    let text = Config::of([&broker]).text();
    let text =
        text.replace("127.0.0.1:0\" }\nlog", "127.0.0.1:0\", token_file: admin.token }\nlog");
    assert!(text.contains("token_file"), "{text}");
    let proxy = Proxy::start_in(dir, &text, |_| program());
    let place = format!("http://{}", proxy.admin());
    let status = |token: &str| {
        let file = proxy.path(token);
        fs::write(&file, token).unwrap();
        let file = file.to_str().unwrap();
        run(&["ctl", "--admin", &place, "--token-file", file, "status"], "").status.code()
    };
    assert_eq!((status("first"), status("second")), (Some(0), Some(1)));
    fs::write(&token, "second\n").unwrap();
    assert_eq!((status("first"), status("second")), (Some(0), Some(1)));
    says(&reload(&proxy, &text), TAKEN);
    assert_eq!((status("first"), status("second")), (Some(1), Some(0)));
}
