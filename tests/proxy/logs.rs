//! The access log's formats, and what becomes of it when its reader is slow.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    thread,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect, connect},
    config::Config,
    harness::{Proxy, heavy, program, wait_for},
};

const FORGED: &str =
    "a\"}\n{\"event\":\"disconnect\",\"client_id\":\"forged\"}\r\t\u{1b}[31m\u{2028}\\ [x]";

fn lines_of(proxy: &Proxy, file: &str, count: usize) -> Vec<String> {
    wait_for(file, || {
        let text = fs::read_to_string(proxy.path(file)).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn no_client_forges_a_line() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.access_log = "{ path: access.log, format: json }, { path: text.log, format: text }, \
         { path: own.log, format: '${event} ${client_id} ${username} ${upstream} ${end_cause}' }"
        .into();
    let proxy = config.start();
    let connect = Connect::new(4, FORGED).username("u] x: [y\n").bytes();
    Client::exchange(proxy.address(), &connect, CONNACK_V3);
    let line = proxy.wait_end(FORGED);
    assert_eq!(line["username"], "u] x: [y\n");
    let log = proxy.log();
    assert_eq!(log.len(), 2);
    let raw = fs::read(proxy.path("access.log")).unwrap();
    assert!(raw.iter().all(|&byte| byte == b'\n' || !byte.is_ascii_control()));

    let own = lines_of(&proxy, "own.log", 2);
    let escaped = r"a\x22}\x0A{\x22event\x22:\x22disconnect\x22,\x22client_id\x22:\x22forged\x22}\x0D\x09\x1B\x5B31m\u2028\x5C \x5Bx\x5D";
    assert_eq!(
        own,
        [
            format!(r"connect {escaped} u\x5D x: \x5By\x0A b1 -"),
            format!(r"disconnect {escaped} u\x5D x: \x5By\x0A b1 closed"),
        ]
    );
    let text = lines_of(&proxy, "text.log", 2);
    assert_eq!(text.len(), 2);
    for (line, event) in text.iter().zip(["connect", "disconnect"]) {
        assert!(line.starts_with("127.0.0.1:"), "{line}");
        for part in [
            &format!("clientid: [{escaped}] username: [u\\x5D x: \\x5By\\x0A]")[..],
            "protocol: [MQTT] version: [4]",
            &format!("event: [{event}]"),
            "upstream: [b1]",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}

const CLIENTS: usize = 3000;

/// Opens a FIFO's reading end, starts a proxy that writes its log there, and runs clients through
/// it while nobody reads; then reads it all.
fn held_back(when_full: &str) -> (Proxy, Vec<Value>) {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.log");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Reading and writing, so that opening waits for nobody.
    let reader = File::options().read(true).write(true).open(&fifo).unwrap();
    let mut config = Config::of([&broker]);
    // A long name makes long lines: what waits soon is more than the queue holds.
    config.access_log = format!("{{ path: fifo.log, format: json, when_full: {when_full} }}");
    let proxy = Proxy::start_in(dir, &config.text(), |_| program());
    let name = "n".repeat(2000);
    let lines = thread::scope(|scope| {
        let (proxy, name) = (&proxy, &name);
        let clients: Vec<_> = (0..4)
            .map(|t| {
                scope.spawn(move || {
                    for n in 0..CLIENTS / 4 {
                        let id = format!("{t}-{n}-{name}");
                        let mut client = Client::open(proxy.address());
                        client.send(&connect(4, &id));
                        client.expect(CONNACK_V3);
                    }
                })
            })
            .collect();
        if when_full == "drop" {
            for client in clients {
                client.join().unwrap();
            }
            proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
            assert!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) > 0.0);
        } else {
            // Clients wait once the queue and the worker's own buffer are full, and stay so.
            let mut last = (-1.0, std::time::Instant::now());
            wait_for("the log to hold clients back", || {
                let accepted = proxy.metric("mqtt_lb_connections_total", &[]);
                if (accepted - last.0).abs() > 0.5 {
                    last = (accepted, std::time::Instant::now());
                }
                (last.1.elapsed().as_millis() > 1000).then_some(())
            });
            assert!((last.0 as usize) < CLIENTS, "all {CLIENTS} got in");
        }
        let dropped = proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as usize;
        let wanted = 2 * CLIENTS - dropped;
        let reader = BufReader::new(reader);
        reader
            .lines()
            .take(wanted)
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    });
    (proxy, lines)
}

#[test]
fn a_full_log_that_blocks_loses_nothing() {
    let _alone = heavy();
    let (proxy, lines) = held_back("block");
    assert_eq!(lines.len(), 2 * CLIENTS);
    assert_eq!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as u64, 0);
    let mut ids: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "disconnect")
        .map(|line| line["client_id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CLIENTS);
}

#[test]
fn a_full_log_that_drops_counts_its_losses() {
    let _alone = heavy();
    let (proxy, lines) = held_back("drop");
    let dropped = proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as usize;
    assert_eq!(lines.len() + dropped, 2 * CLIENTS);
    assert_eq!(proxy.metric("mqtt_lb_session_ends_total", &[]) as usize, CLIENTS);
}

/// A FIFO that nobody reads: said at the start, and not by the first line that hangs.
#[test]
fn a_log_that_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.log");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut config = Config::at(["127.0.0.1:1"]);
    config.access_log = format!("{{ path: \"{}\", format: json }}", fifo.display());
    config.fail_to_start(&format!("access log {}: ", fifo.display()));
}
