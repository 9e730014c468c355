//! Upgrades that fail: the process that runs carries on as if nothing had been asked, and says why.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::NewProcess;
use crate::{
    admin::ctl::{ctl, json_of},
    broker::Broker,
    client::Client,
    config::Config,
    harness::{Proxy, wait_for},
};

/// A script that is started in place of the program.
///
/// Another process writes it: a child that another thread starts at the same moment would hold it
/// open for writing, and it could not be executed.
pub(super) fn script(proxy: &Proxy, text: &str) -> PathBuf {
    let path = proxy.path("program");
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("#!/bin/sh\n{text}\n");
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    path
}

/// A script that passes the check, and does `text` when it is to run.
pub(super) fn after_check(text: &str) -> String {
    format!("[ \"$1\" = check ] && exec {} \"$@\"\n{text}", env!("CARGO_BIN_EXE_mqtt-lb"))
}

/// Upgrades to `binary`, which has to fail. Returns what `ctl` says.
fn failure(proxy: &Proxy, binary: &Path) -> String {
    let before = proxy.metric("mqtt_lb_upgrades_total", &["failed"]);
    let (code, _, said) = ctl(proxy, &["upgrade", "--binary", binary.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    proxy.wait_metric("mqtt_lb_upgrades_total", &["failed"], before + 1.0);
    said
}

/// A proxy with a session, which has to go on, and new clients, which have to be served.
fn with_session(test: impl FnOnce(&mut Proxy)) {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).workers(2).start();
    let mut session = Client::session(proxy.address(), "before");
    test(&mut proxy);
    session.echo(b"\xC0\x00");
    Client::session(proxy.address(), "after").echo(b"\xC0\x00");
    assert!(proxy.is_running());
    // The next upgrade is not affected.
    let _new = NewProcess::of(&proxy);
    Client::session(proxy.address(), "upgraded").echo(b"\xC0\x00");
    session.echo(b"\xC0\x00");
}

#[test]
fn files_that_must_not_be_started() {
    with_session(|proxy| {
        let said = failure(proxy, &proxy.path("missing"));
        assert!(said.contains("missing: No such file or directory"), "{said}");
        let said = failure(proxy, Path::new("mqtt-lb"));
        assert!(said.contains("mqtt-lb is not an absolute path"), "{said}");
        let said = failure(proxy, proxy.dir.path());
        assert!(said.contains("is not a regular file"), "{said}");
        let path = script(proxy, "");
        for (mode, why) in [(0o644, "not executable"), (0o775, "its group"), (0o777, "its group")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let said = failure(proxy, &path);
            assert!(said.contains(why), "{said}");
        }
        let said = json_of(proxy, &["status"]);
        let last = &said["last_upgrade"];
        assert_eq!(last["outcome"], "failed");
        assert!(last["error"].as_str().unwrap().contains("its group"), "{last}");
    });
}

#[test]
fn a_check_that_fails() {
    with_session(|proxy| {
        let path = script(proxy, "echo out; echo err >&2; exit 3");
        let said = failure(proxy, &path);
        assert!(said.contains("config.yaml failed: out\n  err"), "{said}");
        let said = failure(proxy, &script(proxy, "head -c 1000000 /dev/zero; exit 1"));
        assert!(said.len() < 100_000, "{}", said.len());
        // The configuration has a fault, which the program finds.
        let file = proxy.config_file();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("listeners:", "listener:")).unwrap();
        let said = failure(proxy, Path::new(env!("CARGO_BIN_EXE_mqtt-lb")));
        assert!(said.contains("did you mean listeners?"), "{said}");
        fs::write(&file, text).unwrap();
    });
}

#[test]
fn a_process_that_ends_at_once() {
    with_session(|proxy| {
        let said = failure(proxy, &script(proxy, &after_check("exit 7")));
        assert!(said.contains("the new process has ended: exit status: 7"), "{said}");
        let said = failure(proxy, &script(proxy, &after_check("kill -9 $$")));
        assert!(said.contains("the new process has ended: signal: 9"), "{said}");
    });
}

#[test]
fn a_process_that_hangs() {
    with_session(|proxy| {
        let pid_file = proxy.path("pid");
        let hanging = format!("echo $$ > {}; exec sleep 1000", pid_file.display());
        let began = Instant::now();
        let said = failure(proxy, &script(proxy, &after_check(&hanging)));
        assert!(said.contains("was not ready in time"), "{said}");
        assert!(began.elapsed() >= Duration::from_secs(29));
        let pid = fs::read_to_string(pid_file).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", pid.trim()));
        wait_for("the process to be killed and reaped", || (!proc.exists()).then_some(()));
    });
}

#[test]
fn a_process_that_sends_garbage() {
    with_session(|proxy| {
        let garbage = "head -c 100000 /dev/urandom >&0; sleep 1000";
        let said = failure(proxy, &script(proxy, &after_check(garbage)));
        assert!(!said.is_empty());
    });
}

/// The sessions of the old process would not fit into the new one.
#[test]
fn a_process_with_too_few_descriptors() {
    with_session(|proxy| {
        let mut clients: Vec<_> =
            (0..60).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
        let limited = format!("ulimit -n 120; exec {} \"$@\"", env!("CARGO_BIN_EXE_mqtt-lb"));
        let said = failure(proxy, &script(proxy, &after_check(&limited)));
        assert!(said.contains("not enough descriptors: "), "{said}");
        assert!(said.contains(" needed, limit 120"), "{said}");
        let (_, needed) = said.split_once("descriptors: ").unwrap();
        let needed: u32 = needed.split(' ').next().unwrap().parse().unwrap();
        // Two for each session, of which there are 61, and those of the process itself.
        assert!((122..200).contains(&needed), "{said}");
        for client in &mut clients {
            client.echo(b"\xC0\x00");
        }
    });
}

/// It ends, and does not carry on.
#[test]
fn a_stop_during_an_upgrade() {
    let broker = Broker::echoing();
    let mut proxy = Config::of([&broker]).start();
    let hanging = script(&proxy, &after_check("exec sleep 1000"));
    std::thread::scope(|scope| {
        let path = hanging.to_str().unwrap();
        let upgrade = scope.spawn(|| ctl(&proxy, &["upgrade", "--binary", path]));
        proxy.wait_stderr("upgrade: started");
        proxy.signal(rustix::process::Signal::TERM);
        proxy.wait_stderr("not upgraded: this process ends");
        assert_eq!(upgrade.join().unwrap().0, 1);
    });
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let carries_on = proxy.stderr().iter().any(|line| line.contains("carries on as before"));
    assert!(!carries_on);
}

/// The new process cannot bind an address that only the changed configuration has.
#[test]
fn an_address_that_is_in_use() {
    with_session(|proxy| {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = proxy.config_file();
        let text = fs::read_to_string(&file).unwrap();
        let more = format!(
            "[ {{ name: more, bind: \"{}\", pool: brokers }}, ",
            other.local_addr().unwrap()
        );
        let changed = text.replacen("listeners: [ ", &format!("listeners: {more}"), 1);
        fs::write(&file, changed).unwrap();
        let said = failure(proxy, Path::new(env!("CARGO_BIN_EXE_mqtt-lb")));
        assert!(said.contains("cannot listen on"), "{said}");
        fs::write(&file, text).unwrap();
    });
}
