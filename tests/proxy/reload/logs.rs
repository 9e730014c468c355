//! Access logs that come, change and go while lines are written.

use std::{
    collections::HashSet,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use super::take;
use crate::{
    client::Client,
    config::Config,
    harness::{is_end, json_lines, wait_for},
    routing::brokers,
    syslog_receiver::{Kind, Receiver},
};

/// Each line goes to the one log there is at the time, under load from two workers.
#[test]
fn no_line_is_lost_or_written_twice() {
    let [broker] = brokers();
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::new(Kind::Tcp, dir.path());
    receiver.start();
    let mut config = Config::of([&broker]).workers(2);
    let proxy = config.start();
    let descriptors = proxy.descriptors();
    let logs = [
        "{ path: other.log }".to_owned(),
        format!("{{ syslog: {{ to: \"{}\" }} }}", receiver.name()),
        format!("{{ syslog: {{ to: \"{}\", facility: auth }} }}", receiver.name()),
        "{ path: access.log, rotate: { size: 8KiB, keep: 1000 } }".to_owned(),
        "{ path: access.log, when_full: drop }".to_owned(),
        "{ path: ends.log, events: [disconnect, reject] }, { path: access.log, events: [connect] }"
            .to_owned(),
        "{ path: access.log }".to_owned(),
    ];
    let (over, sessions) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let number = sessions.load(Ordering::Relaxed);
                Client::session(proxy.address(), &format!("c{number}"));
                sessions.store(number + 1, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            for log in &logs {
                config.access_log.clone_from(log);
                take(&proxy, &config);
                // Some lines for each, and time for what is to be seen.
                if log.contains("rotate") {
                    wait_for("a rotation", || proxy.path("access.log.1").exists().then_some(()));
                }
                let seen = sessions.load(Ordering::Relaxed);
                wait_for("sessions", || {
                    (sessions.load(Ordering::Relaxed) >= seen + 10).then_some(())
                });
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let sessions = sessions.into_inner();
    let in_files = || {
        let files = fs::read_dir(proxy.dir.path()).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|file| file.to_string_lossy().contains(".log"));
        logs.flat_map(|file| json_lines(&file)).collect::<Vec<_>>()
    };
    let all = || {
        let messages = receiver.messages();
        let sent = messages.iter().map(|one| serde_json::from_str::<Value>(&one.text).unwrap());
        sent.chain(in_files()).collect::<Vec<_>>()
    };
    wait_for("every line", || (all().len() >= 2 * sessions).then_some(()));
    let lines = all();
    assert_eq!(lines.len(), 2 * sessions);
    let ended: HashSet<_> =
        lines.iter().filter(|line| is_end(line)).map(|line| line["client_id"].as_str()).collect();
    assert_eq!(ended.len(), sessions);
    assert!(!receiver.messages().is_empty());
    assert_eq!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as u64, 0);
    // Every log that has gone is closed, and its thread has ended.
    wait_for("no descriptor more", || (proxy.descriptors() == descriptors).then_some(()));
    let writers = || {
        let threads = fs::read_dir(proxy.proc("task")).unwrap();
        let names =
            threads.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "access-log").count()
    };
    wait_for("one thread for one log", || (writers() == 1).then_some(()));
}

/// A log that cannot be opened, and one that can: nothing changes.
#[test]
fn a_log_that_cannot_be_opened_changes_nothing() {
    let [broker] = brokers();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::of([&broker]);
    let proxy = config.start();
    // A socket is not a regular file, but it has an entry in its folder.
    let socket = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    config.access_log = format!("{{ path: new.log }}, {{ path: \"{}\" }}", socket.display());
    let said = super::reload(&proxy, &config.text());
    super::says(&said, super::REFUSED);
    super::says(&said, &format!("access log {}: ", socket.display()));
    Client::session(proxy.address(), "there");
    proxy.wait_end("there");
    assert_eq!(fs::read_to_string(proxy.path("new.log")).unwrap(), "");
}
