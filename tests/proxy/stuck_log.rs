//! Access logs that hold new clients back, and where that is seen.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};

use serde_json::Value;

use crate::{
    admin::http::get,
    bans::ban,
    broker::Broker,
    client::{CONNACK_V3, Client, connack, connect},
    config::Config,
    harness::{Proxy, program, run, wait_for},
    reload::take,
    syslog_receiver::{Kind, Receiver},
};

const BLOCKED: &str = "mqtt_lb_access_log_blocked";
const DROPPED: &str = "mqtt_lb_access_log_dropped_total";
const BEGINS: &str = "access log has blocked new clients for ";
const ENDS: &str = "access log no longer blocks new clients; it did for ";

/// Clients that come one after the other, with long names, until they are told to stop.
struct Clients<'a> {
    proxy: &'a Proxy,
    over: AtomicBool,
}

impl<'a> Clients<'a> {
    fn of(proxy: &'a Proxy) -> Self {
        Self { proxy, over: AtomicBool::new(false) }
    }

    fn run(&self) {
        let name = "n".repeat(3000);
        for n in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let mut client = Client::open(self.proxy.address());
            client.send(&connect(4, &format!("{n}-{name}")));
            client.expect(CONNACK_V3);
        }
    }

    /// Runs them while `test` runs, which has to let the last of them in.
    fn during<T>(&self, test: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let clients = scope.spawn(|| self.run());
            let result = test();
            self.over.store(true, Ordering::Relaxed);
            clients.join().unwrap();
            result
        })
    }
}

/// A pipe, and the end of it that nobody reads yet.
fn pipe(path: &Path) -> File {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // A pipe opened for both is its own writer, so that opening does not wait.
    let both = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let reader = File::open(path).unwrap();
    drop(both);
    reader
}

/// A proxy with a log in `stuck`, whose reader is returned.
fn with_pipe(config: &Config) -> (Proxy, File) {
    let dir = tempfile::tempdir().unwrap();
    let reader = pipe(&dir.path().join("stuck"));
    (Proxy::start_in(dir, &config.text(), |_| program()), reader)
}

/// The status and the body of `/readyz`.
fn readyz(proxy: &Proxy) -> (String, String) {
    let answer = proxy.get("/readyz");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

fn ready() -> (String, String) {
    ("200".to_owned(), "ok\n".to_owned())
}

/// Waits until the proxy is not ready, for this log, and returns why without the time.
#[track_caller]
fn wait_not_ready(proxy: &Proxy, log: &str) -> String {
    let body = wait_for("/readyz to be 503", || {
        let (status, body) = readyz(proxy);
        (status == "503").then_some(body)
    });
    let begin = format!("not ready: access log {log} has blocked new clients since ");
    let (time, advice) = body.strip_prefix(&begin).expect(&body).split_at(24);
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{body}");
    advice.to_owned()
}

fn told(proxy: &Proxy, part: &str) -> usize {
    proxy.stderr().iter().filter(|line| line.contains(part)).count()
}

/// The samples of the gauge, by the last part of their log's path.
fn gauges(proxy: &Proxy) -> Vec<(String, String)> {
    let metrics = proxy.get("/metrics");
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(BLOCKED)?.split_once(' '));
    let named = samples.map(|(labels, value)| {
        let log = labels.strip_prefix("{log=\"").unwrap().strip_suffix("\"}").unwrap();
        (log.rsplit('/').next().unwrap().to_owned(), value.to_owned())
    });
    named.collect()
}

fn of(gauges: &[(&str, &str)]) -> Vec<(String, String)> {
    gauges.iter().map(|(log, value)| ((*log).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_pipe_that_nobody_reads_is_seen_everywhere_until_somebody_does() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]).workers(2);
    config.access_log =
        "{ path: stuck }, { path: /dev/full, when_full: drop }, { path: good.log }".to_owned();
    let (proxy, mut reader) = with_pipe(&config);
    let ok = of(&[("full", "0"), ("good.log", "0"), ("stuck", "0")]);
    assert_eq!(gauges(&proxy), ok);
    let log = proxy.path("stuck");
    Clients::of(&proxy).during(|| {
        let advice = wait_not_ready(&proxy, log.to_str().unwrap());
        let wanted = ": free disk space, or have the reader of its pipe continue; or set \
                      when_full: drop and reload\n";
        assert_eq!(advice, wanted);
        proxy.wait_metric(BLOCKED, &["/stuck\""], 1.0);
        // The other loses lines, and nobody waits for it.
        assert!(proxy.metric(DROPPED, &[]) > 0.0);
        assert_eq!(gauges(&proxy), of(&[("full", "0"), ("good.log", "0"), ("stuck", "1")]));
        proxy.wait_stderr(BEGINS);

        let reason = readyz(&proxy).1.trim_end().strip_prefix("not ready: ").unwrap().to_owned();
        let status = get(&proxy, "/api/v1/status");
        assert_eq!((&status["ready"], &status["not_ready"]), (&false.into(), &reason.into()));
        let admin = format!("http://{}", proxy.admin());
        let health = run(&["ctl", "--admin", &admin, "health"], "");
        assert_eq!(health.status.code(), Some(1));
        let said = String::from_utf8(health.stderr).unwrap();
        assert!(said.contains(&format!("access log {} has blocked", log.display())), "{said}");

        thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        wait_for("/readyz to be 200", || (readyz(&proxy) == ready()).then_some(()));
        proxy.wait_stderr(ENDS);
    });
    assert_eq!(gauges(&proxy), ok);
    assert_eq!((told(&proxy, BEGINS), told(&proxy, ENDS)), (1, 1));
}

/// It ends sessions at once, and refuses clients that waited once the log can be written. No line is
/// lost.
#[test]
fn a_ban_does_not_wait_for_it() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]).workers(2);
    let events = "events: [connect, disconnect, reject, ban]";
    config.access_log = format!("{{ path: stuck, format: json, {events} }}");
    let (mut proxy, mut reader) = with_pipe(&config);
    let mut held = Client::session(proxy.address(), "held");
    let reading = Clients::of(&proxy).during(|| {
        proxy.wait_metric(BLOCKED, &["/stuck\""], 1.0);
        ban(&proxy, "client_id", "held", 600);
        assert!(held.rest().0.is_empty());
        let mut again = Client::open(proxy.address());
        again.send(&connect(4, "held"));
        let reading = thread::spawn(move || {
            let mut log = String::new();
            reader.read_to_string(&mut log).unwrap();
            log
        });
        assert_eq!(again.rest().0, connack(4, 5));
        reading
    });
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let log = reading.join().unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // Two workers and the admin thread write them, in any order.
    let lines = lines.filter(|line| line["client_id"] == "held" || line["event"] == "ban");
    let told = lines.map(|line| [&line["event"], &line["end_cause"]].map(ToString::to_string));
    let mut told: Vec<_> = told.collect();
    told.sort();
    let wanted = [
        ["\"ban\"", "null"],
        ["\"connect\"", "null"],
        ["\"disconnect\"", "\"banned\""],
        ["\"reject\"", "\"banned\""],
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_reload_that_sets_drop_or_removes_or_replaces_the_log_ends_it_at_once() {
    let after = [
        ("{ path: stuck, when_full: drop }", of(&[("stuck", "0")])),
        ("", of(&[])),
        ("{ path: other.log }", of(&[("other.log", "0")])),
    ];
    let broker = Broker::echoing();
    let blocked = |(log, gauges_after): (&str, Vec<_>)| {
        let mut config = Config::of([&broker]);
        config.access_log = "{ path: stuck }".to_owned();
        let (mut proxy, reader) = with_pipe(&config);
        Clients::of(&proxy).during(|| {
            wait_not_ready(&proxy, proxy.path("stuck").to_str().unwrap());
            proxy.wait_stderr(BEGINS);
            // One that changes something else ends nothing.
            config.more.push("limits: { connect_packet: 32KiB }".to_owned());
            take(&proxy, &config);
            assert_eq!(readyz(&proxy).0, "503", "{log}");
            assert_eq!((told(&proxy, BEGINS), told(&proxy, ENDS)), (1, 0), "{log}");

            log.clone_into(&mut config.access_log);
            let said = take(&proxy, &config);
            assert_eq!(readyz(&proxy), ready(), "{log}");
            assert_eq!(gauges(&proxy), gauges_after, "{log}");
            assert!(said.iter().any(|line| line.contains(ENDS)), "{log}: {said:#?}");
        });
        drop(reader);
        proxy.signal(Signal::TERM);
        assert_eq!(proxy.wait_exit().code(), Some(0), "{log}");
    };
    thread::scope(|scope| {
        let all: Vec<_> = after.into_iter().map(|one| scope.spawn(|| blocked(one))).collect();
        for one in all {
            one.join().unwrap();
        }
    });
}

#[test]
fn a_proxy_that_is_to_end_does_not_wait_for_it() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]).workers(2).more("drain: { timeout: 300ms }");
    config.access_log = "{ path: stuck }".to_owned();
    let (mut proxy, mut reader) = with_pipe(&config);
    thread::scope(|scope| {
        let clients = Clients::of(&proxy);
        let running = scope.spawn(move || {
            // Those who wait are cut off by the end.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clients.run()));
        });
        wait_not_ready(&proxy, proxy.path("stuck").to_str().unwrap());
        proxy.signal(Signal::TERM);
        wait_for("it to drain", || (told(&proxy, "stopped accepting") == 1).then_some(()));
        running.join().unwrap();
    });
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.wait_stderr("access log not completely written before the deadline");
    // What the pipe had is whole lines, but for the last.
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert!(text.starts_with(b"{\"time\":\"") && text.contains(&b'\n'));
}

/// The access log and the program's log are one pipe, which nobody reads.
#[test]
fn standard_output_and_standard_error_can_be_the_same_stuck_pipe() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.access_log = "{ stdout: true }".to_owned();
    let mut proxy = Proxy::start_in(tempfile::tempdir().unwrap(), &config.text(), |program| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&2", program]).env_remove("RUST_LOG");
        shell
    });
    let reading = proxy.reading.clone();
    let unread = reading.lock().unwrap();
    Clients::of(&proxy).during(|| {
        let advice = wait_not_ready(&proxy, "/dev/stdout");
        let wanted = ": have the reader of standard output continue, or free disk space; or set \
                      when_full: drop and reload\n";
        assert_eq!(advice, wanted);
        proxy.wait_metric(BLOCKED, &["log=\"/dev/stdout\""], 1.0);
        // The control thread answers all the same.
        fs::write(proxy.config_file(), config.clone().more("limits: {}").text()).unwrap();
        proxy.signal(Signal::HUP);
        proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""], 1.0);
        drop(unread);
        wait_for("/readyz to be 200", || (readyz(&proxy) == ready()).then_some(()));
        proxy.wait_stderr(BEGINS);
        proxy.wait_stderr(ENDS);
    });
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
}

#[test]
fn a_syslog_receiver_that_is_away_is_seen_until_it_is_there() {
    let broker = Broker::echoing();
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::new(Kind::Tcp, folder.path());
    let mut config = Config::of([&broker]);
    config.access_log = format!("{{ syslog: {{ to: \"{}\" }} }}", receiver.name());
    let proxy = config.start();
    Clients::of(&proxy).during(|| {
        let advice = wait_not_ready(&proxy, &receiver.name());
        let wanted =
            ": start the receiver, or have it continue; or set when_full: drop and reload\n";
        assert_eq!(advice, wanted);
        receiver.start();
        wait_for("/readyz to be 200", || (readyz(&proxy) == ready()).then_some(()));
        proxy.wait_metric(BLOCKED, &[], 0.0);
    });
}
