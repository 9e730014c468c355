//! Configurations that are not taken: each says why, and nothing changes.

use std::{fs, net::TcpListener};

use super::{REFUSED, ping_all, reload, says, sessions, take};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{
    client::Client,
    config::Config,
    harness::Proxy,
    pki::{Ca, Leaf},
    routing::{brokers, ids},
};

fn reloads(proxy: &Proxy, outcome: &str) -> u64 {
    proxy.metric("mqtt_lb_config_reloads_total", &[&format!("outcome=\"{outcome}\"")]) as u64
}

#[test]
fn what_is_wrong_is_said_and_nothing_changes() {
    let [b1, b2] = brokers();
    let config = Config::of([&b1]);
    let proxy = config.start();
    let mut there = sessions(&proxy, &ids()[..5]);
    let good = config.text();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = taken.local_addr().unwrap();
    let ca = Ca::new("ca");
    let leaf = ca.issue(&Leaf::new("a", &["example.com"]));
    fs::write(proxy.path("cert.pem"), &leaf.cert).unwrap();
    let tls = "name: mqtts, tls: { certificates: [ { cert: cert.pem, key: key.pem } ] }";
    // Each would block its reader.
    let pipe = proxy.path("pipe.pem");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let endless = tls.replace("cert.pem", "pipe.pem").replace("key.pem", "/dev/zero");
    fs::write(proxy.path("ids.txt"), "fine\r\nold\rmac\n").unwrap();
    let list = "rules: [{ name: no, when: { client_id: { file: ids.txt } }, refuse: banned }]";
    let descriptors = proxy.descriptors();
    let generation = |said: &[String]| said.iter().any(|line| line.contains("generation="));
    let cases = [
        (good.replace("pools:", "pools: ["), "config.yaml:"),
        (good.replace("log:", "lug:"), "unknown key"),
        (
            good.replace("workers: 1", "workers: 3"),
            "runtime.workers cannot change without a restart: from 1 to 3",
        ),
        (
            good.replace("admin: { bind: \"127.0.0.1:0\" }", "admin: { bind: \"127.0.0.1:1\" }"),
            "admin.bind cannot change without a restart",
        ),
        (
            good.replace("log: { level: info }", "log: { level: info, format: json }"),
            "log.format cannot change without a restart: from text to json",
        ),
        (
            config.clone().another_listener("name: other").text().replace(
                "bind: \"127.0.0.1:0\", pool: brokers, name: other",
                &format!("bind: \"{occupied}\", pool: brokers, name: other"),
            ),
            "listener other: cannot listen on",
        ),
        (good.replace("access.log", "no/such/folder/access.log"), "a folder that exists"),
        (config.clone().another_listener(tls).text(), "key.pem"),
        (
            config.clone().another_listener(&endless).text(),
            "\"pipe.pem\" cannot be read: it is not a regular file",
        ),
        (
            config.clone().another_listener(&endless).text(),
            "\"/dev/zero\" cannot be read: it is not a regular file",
        ),
        (
            config.clone().listener(list).text(),
            "\"ids.txt\" line 2: has a carriage return in its middle: end lines with LF or CRLF",
        ),
        (String::new(), "is empty"),
    ];
    let count = cases.len();
    for (text, why) in cases {
        assert_ne!(text, good, "{why}");
        let said = reload(&proxy, &text);
        says(&said, REFUSED);
        says(&said, why);
        assert!(!generation(&said), "{said:#?}");
        assert!(said.iter().any(|line| line.contains("ERROR") && line.contains(why)), "{said:#?}");
    }
    let address = proxy.address();
    let everywhere =
        good.replace("\"127.0.0.1:0\", pool", &format!("\"0.0.0.0:{}\", pool", address.port()));
    let said = reload(&proxy, &everywhere);
    says(&said, "Listener mqtt of this proxy holds the port until the reload is complete");
    fs::remove_file(proxy.config_file()).unwrap();
    let before = proxy.stderr().len();
    proxy.signal(rustix::process::Signal::HUP);
    crate::harness::wait_for("the refusal", || {
        let said = proxy.stderr().split_off(before);
        said.iter().any(|line| line.contains("cannot be read")).then_some(())
    });
    ping_all(&mut there);
    Client::session(proxy.address(), "new");
    assert_eq!(proxy.wait_end("new")["upstream"], "b1");
    assert_eq!((reloads(&proxy, "applied"), reloads(&proxy, "refused")), (0, count as u64 + 2));
    // What was opened on the way is closed again; the admin connection of this look is one more.
    crate::harness::wait_for("descriptors as before", || {
        (proxy.descriptors() <= descriptors + 1).then_some(())
    });
    // And after all that a good one is taken.
    take(&proxy, &Config::of([&b1, &b2]));
    ping_all(&mut there);
    assert_eq!(reloads(&proxy, "applied"), 1);
}
