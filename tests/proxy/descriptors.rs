//! Fewer descriptors than clients, and what is said of how many fit.

use std::{fs, process::Command, thread, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, wait_for},
};

/// Starts the proxy with so few descriptors that it cannot raise them.
pub(crate) fn start_with_descriptors(count: u32, config: &Config) -> Proxy {
    start_with_ulimit(&format!("-n {count}"), config)
}

fn start_with_ulimit(limits: &str, config: &Config) -> Proxy {
    Proxy::start_in(tempfile::tempdir().unwrap(), &config.text(), |program| {
        let mut shell = Command::new("sh");
        let script = format!("ulimit {limits} && exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(program);
        shell
    })
}

/// Leaves a proxy that runs so few descriptors, for which no limit of its own makes up.
pub(crate) fn take_descriptors(proxy: &Proxy, left: usize) {
    let pid = Pid::from_raw(proxy.id().cast_signed()).unwrap();
    let left = Some(left as u64);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: left, maximum: left }).unwrap();
}

#[test]
fn a_shortage_is_waited_out() {
    let broker = Broker::echoing();
    let proxy = start_with_descriptors(2000, &Config::of([&broker]));
    take_descriptors(&proxy, 100);
    let kind = &["kind=\"process_descriptors\""];
    let mut early = Client::session(proxy.address(), "early");
    let metrics = proxy.get("/livez");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");

    let flood: Vec<_> = (0..200).map(|_| Client::open(proxy.address())).collect();
    proxy.wait_stderr("cannot accept");
    // Who is in is served as before, and waiting costs no more than a look now and then.
    let before = proxy.processor_ticks();
    thread::sleep(Duration::from_secs(1));
    early.echo(b"\xC0\x00");
    let ticks = proxy.processor_ticks() - before;
    assert!(ticks < 30, "{ticks} of 100 ticks spent on waiting");
    let shouted = proxy.stderr().iter().filter(|line| line.contains("cannot accept")).count();
    assert!(shouted < 5, "{shouted} lines about it");

    drop(flood);
    let mut client = Client::open(proxy.address());
    client.send(&connect(4, "late"));
    client.expect(CONNACK_V3);
    client.echo(b"\xC0\x00");
    early.echo(b"\xC0\x00");
    let errors = wait_for("the count", || {
        let errors = proxy.metric("mqtt_lb_accept_errors_total", kind);
        (errors > 5.0).then_some(errors)
    });
    assert!(errors < 2000.0, "{errors} failed calls");
}

/// Without a limit in the file, the descriptors set one that leaves room to answer.
#[test]
fn the_limit_that_descriptors_set() {
    let broker = Broker::echoing();
    let proxy = start_with_descriptors(196, &Config::of([&broker]));
    // 176 are kept for other things; each session takes two of the other 20.
    let held: Vec<_> =
        (0..10).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    Client::exchange(proxy.address(), &connect(5, "over"), b"\x20\x03\x00\x97\x00").expect_end();
    assert_eq!(proxy.metric("mqtt_lb_accept_errors_total", &[]) as u64, 0);
    drop(held);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    Client::session(proxy.address(), "after").echo(b"\xC0\x00");
}

/// The line about descriptors at the start.
fn said_of_descriptors(proxy: &Proxy) -> String {
    proxy.stderr().into_iter().find(|line| line.contains("descriptor limit")).unwrap()
}

/// One line says what was found, what was made of it and what that allows; and what to do where it
/// is little, or less than was asked for.
#[test]
fn what_is_said_at_the_start() {
    let broker = Broker::echoing();
    for (descriptors, limits, said, hint) in [
        ("-S -n 100 && ulimit -H -n 196", "", "before=100 now=196 hard=196 sessions=10", true),
        ("-n 196", "limits: { max_connections: 10 }", "before=196 now=196 hard=196", false),
        ("-n 196", "limits: { max_connections: 11 }", "sessions=10", true),
        ("-n 2000", "", "hard=2000 sessions=881", true),
    ] {
        let config = Config::of([&broker]).more(limits);
        let proxy = start_with_ulimit(descriptors, &config);
        let line = said_of_descriptors(&proxy);
        assert!(line.contains(said), "{line}");
        let asked =
            "limits.max_connections is 11, but the descriptor limit of 196 allows only 10 sessions";
        assert_eq!(line.contains(asked), limits.contains("11"), "{line}");
        assert_eq!(line.contains(" WARN "), hint, "{line}");
        assert_eq!(line.contains("LimitNOFILE="), hint, "{line}");
    }
}

/// More than fit are asked for: as many as fit are let in, and each has a descriptor for its broker.
#[test]
fn no_more_are_let_in_than_there_are_descriptors_for() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("limits: { max_connections: 3000 }");
    let proxy = start_with_descriptors(300, &config);
    // 176 are kept for other things, and two are each session's.
    proxy.wait_metric("mqtt_lb_connections_limit", &[], 62.0);
    let mut held: Vec<_> =
        (0..62).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    let _flood: Vec<_> = (0..300).map(|_| Client::open(proxy.address())).collect();
    // A tenth more, and one, wait to be told.
    proxy.wait_metric("mqtt_lb_connections_active", &[], 69.0);
    assert!(proxy.get("/readyz").starts_with("HTTP/1.1 200"));
    for client in &mut held {
        client.echo(b"\xC0\x00");
    }
    assert_eq!(broker.connections(), 62);
    assert_eq!(proxy.metric("mqtt_lb_accept_errors_total", &[]) as u64, 0);

    // A reload caps likewise, and says so.
    fs::write(proxy.config_file(), config.text().replace("3000", "4000")).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_stderr(
        "limits.max_connections is 4000, but the descriptor limit of 300 allows only 62 sessions",
    );
    proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""], 1.0);
    proxy.wait_metric("mqtt_lb_connections_limit", &[], 62.0);
}

/// `check` warns, and the file is good all the same.
#[test]
fn a_check_warns_of_more_than_fit() {
    let broker = Broker::echoing();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    for (asked, warned) in [(62, false), (63, true)] {
        let limits = format!("limits: {{ max_connections: {asked} }}");
        fs::write(&file, Config::of([&broker]).more(&limits).text()).unwrap();
        let script = "ulimit -n 300 && exec \"$0\" check -c \"$1\"";
        let program = env!("CARGO_BIN_EXE_mqtt-lb");
        let checked = Command::new("sh").args(["-c", script, program]).arg(&file).output().unwrap();
        assert!(checked.status.success());
        let said = String::from_utf8(checked.stderr).unwrap();
        let wanted = format!(
            "{}: warning: limits.max_connections is 63, but the descriptor limit of 300 allows only \
             62 sessions, and connections beyond that are refused: raise the hard limit \
             (LimitNOFILE= in systemd, ulimit -Hn in a shell), or lower limits.max_connections\n",
            file.display()
        );
        assert_eq!(said, if warned { wanted } else { String::new() });
    }
}

/// What the proxy has said of being nearly full.
fn warnings(proxy: &Proxy, of: &str) -> usize {
    let warning = format!("more than 80 % of the {of}");
    proxy.stderr().iter().filter(|line| line.contains(&warning)).count()
}

#[test]
fn a_warning_before_the_connections_are_all_taken() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("limits: { max_connections: 10 }");
    let proxy = config.start();
    proxy.wait_metric("mqtt_lb_connections_limit", &[], 10.0);
    let session = |n| Client::session(proxy.address(), &format!("c{n}"));
    let mut held: Vec<_> = (0..9).map(session).collect();
    proxy.wait_stderr("more than 80 % of the connections");
    let line = proxy.stderr().into_iter().find(|line| line.contains("80 %")).unwrap();
    assert!(line.contains(" WARN ") && line.contains("open=9 limit=10"), "{line}");

    // Down to where it is not high any more, and up again: each for longer than it takes to be seen.
    let seen = Duration::from_millis(2500);
    wait_for("a second warning", || {
        held.truncate(7);
        thread::sleep(seen);
        held.extend((10..12).map(session));
        thread::sleep(seen);
        (warnings(&proxy, "connections") == 2).then_some(())
    });
    assert_eq!(warnings(&proxy, "descriptors"), 0);
}

/// Descriptors that no limit on connections guards, and the process collector's figures of them.
#[test]
fn a_warning_before_the_descriptors_are_all_taken() {
    let broker = Broker::echoing();
    let proxy = start_with_descriptors(2000, &Config::of([&broker]));
    take_descriptors(&proxy, 200);
    assert!((proxy.metric("process_max_fds", &[]) - 200.0).abs() < 0.5);
    proxy.wait_metric("mqtt_lb_connections_limit", &[], 881.0);
    assert_eq!(warnings(&proxy, "descriptors"), 0);

    let already = proxy.descriptors();
    let fitting = (200 - already) / 2 - 5;
    let _held: Vec<_> =
        (0..fitting).map(|n| Client::session(proxy.address(), &format!("c{n}"))).collect();
    proxy.wait_stderr("more than 80 % of the descriptors");
    assert!(proxy.metric("process_open_fds", &[]) > 160.0);
    assert_eq!(warnings(&proxy, "connections"), 0);
}

/// The limit that a reload brings is the one that is shown.
#[test]
fn the_limit_shown_is_that_of_the_configuration_in_force() {
    let broker = Broker::echoing();
    let config = Config::of([&broker]).more("limits: { max_connections: 10 }").text();
    let proxy = Proxy::start(&config);
    proxy.wait_metric("mqtt_lb_connections_limit", &[], 10.0);
    fs::write(proxy.config_file(), config.replace("max_connections: 10", "max_connections: 20"))
        .unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_metric("mqtt_lb_connections_limit", &[], 20.0);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""], 1.0);
    assert_eq!(proxy.metric("mqtt_lb_config_last_reload_successful", &[]) as u64, 1);

    // A file with a fault, and the metrics that an alert goes by.
    fs::write(proxy.config_file(), "limits: { max_connections: many }").unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"refused\""], 1.0);
    assert_eq!(proxy.metric("mqtt_lb_config_last_reload_successful", &[]) as u64, 0);
    assert_eq!(proxy.metric("mqtt_lb_connections_limit", &[]) as u64, 20);
}
