//! The filter in `deploy/fail2ban`, with the lines of the program and with attempts to forge them.

use std::process::Command;

use serde_json::Value;

use super::{ban, from};
use crate::{
    broker::{Broker, version},
    client::{Client, Connect, connack},
    config::Config,
    harness::{Proxy, wait_for},
};

/// What clients call themselves, so that a line of theirs looks like another one.
const FORGED: &[&str] = &[
    "plain",
    "with spaces and client=203.0.113.1:1",
    "a] username: [-] event: [ban] detail: [ip 203.0.113.1 banned until x",
    "x\",\"event\":\"ban\",\"client\":\"203.0.113.1:1\",\"ban_kind\":\"ip\",\"end_cause\":\"refused\"",
    "\\\",\"connack\":5,\"end_by\":\"proxy\",\"end_cause\":\"refused\"}",
    "203.0.113.1:1 [26/Nov/2026:19:04:05 +0000] clientid: [-] username: [-] protocol: [MQTT] \
     version: [4] event: [ban] session: [0000000000c0ffee] detail: [ip 203.0.113.1 banned until x]",
    "{\"time\":\"2026-11-26T19:04:05.123Z\",\"event\":\"ban\",\"session\":\"000000000000002a\"}",
    "[26/Nov/2020:19:04:05 +0000]",
];

/// The addresses that fail2ban finds in a log, one for each line that matches.
#[track_caller]
fn found(proxy: &Proxy, log: &str, mode: &str) -> Vec<String> {
    let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/fail2ban/filter.d/mqtt-lb.conf");
    let output = Command::new("fail2ban-regex")
        .args(["-o", "ip"])
        .arg(proxy.path(log))
        .arg(format!("{filter}[mode={mode}]"))
        .output()
        .expect("fail2ban-regex cannot be started: install Debian's package fail2ban");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(Into::into).collect()
}

fn is_failed_login(line: &Value) -> bool {
    let code = line["connack"].as_u64().unwrap_or(0);
    line["end_cause"] == "refused" && [4, 5, 0x86, 0x87].contains(&code)
}

#[test]
fn the_filter_finds_the_lines_of_bans_and_failed_logins_and_no_others() {
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        // The last byte of the username is the answer.
        let code = connect.last().map_or(0, |digit| digit - b'0');
        let code = if version(&connect) == 5 && code > 3 { 0x82 + code } else { code };
        link.send(&connack(version(&connect), code));
        while link.read_packet().is_some() {}
    });
    let mut config = Config::of([&broker]).pool("retry_on: []").more(
        "limits: { bad_credentials_per_ip: { rate: 1, burst: 1000, ban_for: 1h }, \
         handshakes_per_ip: { rate: 20, burst: 150, ban_for: 1h } }",
    );
    config.access_log =
        "{ path: access.log, format: json, events: [connect, disconnect, reject, ban] }, \
         { path: text.log, format: text, events: [connect, disconnect, reject, ban] }"
            .to_owned();
    let proxy = config.start();
    let mut connections = 0;
    for name in FORGED {
        ban(&proxy, "client_id", name, 3600);
        ban(&proxy, "username", name, 3600);
        for (version, code) in [(4, '0'), (4, '3'), (4, '4'), (4, '5'), (5, '4'), (5, '5')] {
            let username = format!("{name}{code}");
            let id = format!("{name} of {version}");
            let mut client = from(9, proxy.address());
            client.send(&Connect::new(version, &id).username(&username).bytes());
            client.rest_of(4);
            drop(client);
            let mut banned = Client::open(proxy.address());
            banned.send(&Connect::new(version, name).username("0").bytes());
            banned.rest_of(4);
            connections += 2;
        }
    }
    ban(&proxy, "ip", "127.0.0.77", 3600);
    let ends = |log: &[Value]| log.iter().filter(|line| line["end_by"].is_string()).count();
    let log = wait_for("all lines", || {
        let log = proxy.log();
        let bans = log.iter().filter(|line| line["event"] == "ban").count();
        (ends(&log) == connections && bans == 2 * FORGED.len() + 1).then_some(log)
    });
    let wanted = log.iter().filter(|line| is_failed_login(line)).count();
    assert_eq!(wanted, 4 * FORGED.len());
    for file in ["access.log", "text.log"] {
        wait_for("the same lines in both logs", || {
            let lines = std::fs::read_to_string(proxy.path(file)).unwrap();
            (lines.lines().count() >= log.len()).then_some(())
        });
        assert_eq!(found(&proxy, file, "credentials"), vec!["127.0.0.9"; wanted], "{file}");
        // Bans by the operator have no client, and bans of names are not about an address.
        assert!(found(&proxy, file, "ban").is_empty(), "{file}");
    }
    // Now a ban by a rate.
    let flood: Vec<_> = (0..400).map(|_| from(9, proxy.address())).collect();
    proxy.wait_log("a ban", |line| line["ban_reason"] == "handshakes_per_ip");
    drop(flood);
    for file in ["access.log", "text.log"] {
        wait_for("the ban in both logs", || {
            (found(&proxy, file, "ban") == ["127.0.0.9"]).then_some(())
        });
    }
}
