//! Access logs that go to syslog receivers: what they get, and what becomes of lines while they are
//! away.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{PATIENCE, Proxy, heavy, program, wait_for},
    syslog_receiver::{Kind, Message, Receiver, counted},
};

const AGAIN: &str = "access log can be written again";

/// A proxy whose only log goes to a receiver.
fn start(receiver: &Receiver, broker: &Broker, keys: &str) -> Proxy {
    let mut config = Config::of([broker]);
    config.access_log = format!("{{ syslog: {{ to: \"{}\" }}{keys} }}", receiver.name());
    config.start()
}

#[track_caller]
fn wait_messages(receiver: &Receiver, count: usize) -> Vec<Message> {
    wait_for(&format!("{count} messages"), || {
        let messages = receiver.messages();
        (messages.len() >= count).then_some(messages)
    })
}

/// The sessions whose lines of an event have arrived, each once.
fn ids(messages: &[Message], event: &str) -> Vec<String> {
    let lines = messages.iter().filter(|message| message.id == event);
    let mut ids: Vec<_> = lines
        .map(|message| {
            let line: Value = serde_json::from_str(&message.text).unwrap();
            line["client_id"].as_str().unwrap().to_owned()
        })
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn every_line_is_one_message() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::echoing();
        let mut receiver = Receiver::new(kind, dir.path());
        receiver.start();
        let mut config = Config::of([&broker]);
        config.access_log = format!(
            "{{ path: access.log }}, \
             {{ syslog: {{ to: \"{}\", facility: local3, severity: debug, app_name: lb }} }}",
            receiver.name()
        );
        let proxy = config.start();
        let ids = ["plain", "a\"}\n<0>1 \u{2028}", "ü€𝄞", "[x] - \\", &"l".repeat(20_000)];
        for id in ids {
            Client::session(proxy.address(), id);
        }
        // Not a CONNECT.
        Client::open(proxy.address()).send(b"\xC0\x00");
        let messages = wait_messages(&receiver, 2 * ids.len() + 1);
        wait_for("the file", || (proxy.log().len() == messages.len()).then_some(()));
        let text = fs::read_to_string(proxy.path("access.log")).unwrap();
        assert_eq!(messages.len(), text.lines().count());
        let host = rustix::system::uname();
        for (message, line) in messages.iter().zip(text.lines()) {
            let fields: Value = serde_json::from_str(line).unwrap();
            let event = fields["event"].as_str().unwrap();
            let wanted = Message {
                // 8 x local3, and notice or debug.
                priority: 8 * 19 + if event == "reject" { 5 } else { 7 },
                time: fields["time"].as_str().unwrap().to_owned(),
                host: host.nodename().to_str().unwrap().to_owned(),
                app_name: "lb".to_owned(),
                process: proxy.proc("").split('/').nth(2).unwrap().to_owned(),
                id: event.to_owned(),
                text: line.to_owned(),
            };
            assert_eq!(*message, wanted, "{kind:?}");
        }
        assert_eq!(ids_of_events(&messages), [ids.len(), ids.len(), 1]);
    }
}

fn ids_of_events(messages: &[Message]) -> [usize; 3] {
    ["connect", "disconnect", "reject"]
        .map(|event| messages.iter().filter(|message| message.id == event).count())
}

/// Filters, formats and several places, each on its own.
#[test]
fn each_log_has_its_own_events_and_format() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::echoing();
    let mut receiver = Receiver::new(Kind::UnixDatagrams, dir.path());
    receiver.start();
    let mut config = Config::of([&broker]);
    config.access_log = format!(
        "{{ path: access.log }}, {{ path: ends.log, events: [disconnect], format: '${{client_id}}' }}, \
         {{ syslog: {{ to: \"{}\" }}, events: [reject], format: '${{end_cause}}' }}",
        receiver.name()
    );
    let proxy = config.start();
    Client::open(proxy.address()).send(b"\xC0\x00");
    for id in ["one", "two"] {
        Client::session(proxy.address(), id);
        proxy.wait_end(id);
    }
    assert_eq!(wait_messages(&receiver, 1)[0].text, "malformed");
    let ends = wait_for("two ends", || {
        let text = fs::read_to_string(proxy.path("ends.log")).unwrap();
        (text.lines().count() == 2).then_some(text)
    });
    assert_eq!(ends, "one\ntwo\n");
    assert_eq!(proxy.log().len(), 5);
    assert_eq!(receiver.messages().len(), 1);
}

const CLIENTS: usize = 1600;

/// Long names make long lines: what waits soon is more than a queue holds. Returns how many got in.
fn run_clients(proxy: &Proxy, round: &str, done: &AtomicUsize) -> usize {
    let name = "n".repeat(1500);
    let session = |id: &str| -> io::Result<()> {
        let mut client = TcpStream::connect(proxy.address())?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(&connect(4, id))?;
        client.read_exact(&mut [0; CONNACK_V3.len()])
    };
    thread::scope(|scope| {
        for t in 0..4 {
            let (name, session) = (&name, &session);
            scope.spawn(move || {
                for n in 0..CLIENTS / 4 {
                    if session(&format!("{round}-{t}-{n}-{name}")).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    done.load(Ordering::Relaxed)
}

/// Waits until no client has got in for a second.
fn wait_held_back(done: &AtomicUsize) {
    let mut last = (usize::MAX, Instant::now());
    wait_for("the log to hold clients back", || {
        let now = done.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed().as_millis() > 1000).then_some(())
    });
    assert!(last.0 < CLIENTS, "all {CLIENTS} got in");
}

fn told(proxy: &Proxy, part: &str) -> usize {
    proxy.stderr().iter().filter(|line| line.contains(part)).count()
}

/// The receiver is away twice: at the start, and once more later.
#[test]
fn block_waits_for_a_receiver_and_loses_nothing() {
    let _alone = heavy();
    for kind in [Kind::Tcp, Kind::UnixDatagrams, Kind::UnixStream] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::echoing();
        let mut receiver = Receiver::new(kind, dir.path());
        let proxy = start(&receiver, &broker, "");
        proxy.wait_stderr("WARN access log: cannot connect to the receiver");
        for round in 0..2 {
            let done = AtomicUsize::new(0);
            thread::scope(|scope| {
                let clients = scope.spawn(|| run_clients(&proxy, &round.to_string(), &done));
                wait_held_back(&done);
                receiver.start();
                assert_eq!(clients.join().unwrap(), CLIENTS);
            });
            let messages = wait_messages(&receiver, (round + 1) * 2 * CLIENTS);
            assert_eq!(messages.len(), (round + 1) * 2 * CLIENTS, "{kind:?}");
            for event in ["connect", "disconnect"] {
                let mut ids = ids(&messages, event);
                ids.dedup();
                assert_eq!(ids.len(), (round + 1) * CLIENTS, "{kind:?} {event}");
            }
            wait_for("it to be told", || (told(&proxy, AGAIN) == round + 1).then_some(()));
            receiver.stop();
        }
        // The second time it was an error; the first, it had not been there yet.
        assert_eq!(told(&proxy, "ERROR access log cannot be written: new sessions wait"), 1);
        assert_eq!(told(&proxy, "WARN access log"), 1);
        assert_eq!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as u64, 0, "{kind:?}");
    }
}

#[test]
fn drop_counts_what_a_receiver_misses() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::echoing();
        let mut receiver = Receiver::new(kind, dir.path());
        let proxy = start(&receiver, &broker, ", when_full: drop");
        let mut arrived = 0;
        for round in 0..2 {
            for n in 0..50 {
                Client::session(proxy.address(), &format!("{round}-{n}"));
            }
            let dropped = (round + 1) as f64 * 100.0;
            proxy.wait_metric("mqtt_lb_access_log_dropped_total", &[], dropped);
            receiver.start();
            for n in 0..20 {
                Client::session(proxy.address(), &format!("there {round}-{n}"));
            }
            arrived += 40;
            assert_eq!(wait_messages(&receiver, arrived).len(), arrived, "{kind:?}");
            proxy.wait_metric("mqtt_lb_access_log_dropped_total", &[], dropped);
            wait_for("it to be told", || (told(&proxy, AGAIN) == round + 1).then_some(()));
            receiver.stop();
        }
        assert!(receiver.messages().iter().all(|message| message.text.contains("there ")));
        // At the start it was a warning, except over UDP, where nothing is connected.
        let errors = if kind == Kind::Udp { 2 } else { 1 };
        let said = "ERROR access log cannot be written: its lines are dropped";
        assert_eq!(told(&proxy, said), errors, "{kind:?}");
    }
}

/// Over UDP a receiver on the same host is missed with the first line, and that line is kept.
#[test]
fn block_over_udp_keeps_what_nobody_took() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::echoing();
    let mut receiver = Receiver::new(Kind::Udp, dir.path());
    let proxy = start(&receiver, &broker, "");
    for round in 0..2 {
        for n in 0..20 {
            Client::session(proxy.address(), &format!("{round}-{n}"));
        }
        wait_for("it to be told", || {
            (told(&proxy, "ERROR access log cannot be written") == round + 1).then_some(())
        });
        receiver.start();
        assert_eq!(wait_messages(&receiver, 40 * (round + 1)).len(), 40 * (round + 1));
        receiver.stop();
    }
    assert_eq!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as u64, 0);
}

/// A receiver that accepts and never reads holds sessions back, and not the end of the proxy.
#[test]
fn a_receiver_that_never_reads_does_not_keep_the_proxy_from_ending() {
    let _alone = heavy();
    for when_full in ["block", "drop"] {
        let broker = Broker::echoing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::of([&broker]).more("drain: { timeout: 1s }");
        config.access_log = format!(
            "{{ syslog: {{ to: \"tcp://{}\" }}, when_full: {when_full} }}",
            listener.local_addr().unwrap()
        );
        let mut proxy = config.start();
        let (mut link, _) = listener.accept().unwrap();
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            let clients = scope.spawn(|| run_clients(&proxy, "n", &done));
            if when_full == "block" {
                wait_held_back(&done);
                proxy.signal(Signal::TERM);
            }
            // Those that are held back see the proxy end.
            assert_eq!(clients.join().unwrap() < CLIENTS, when_full == "block");
        });
        if when_full == "drop" {
            assert!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) > 0.0);
            proxy.signal(Signal::TERM);
        }
        assert_eq!(proxy.wait_exit().code(), Some(0));
        proxy.wait_stderr("ERROR access log cannot be written");
        // What came before is whole, up to where it stopped.
        let mut stream = Vec::new();
        let _ = link.read_to_end(&mut stream);
        assert!(stream.len() > 64 * 1024, "{}", stream.len());
    }
}

/// A connection that breaks while a message is half out: it is sent again, whole, on the next one.
#[test]
fn a_connection_that_breaks_in_a_message() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::of([&broker]);
    config.access_log =
        format!("{{ syslog: {{ to: \"tcp://{}\" }} }}", listener.local_addr().unwrap());
    let proxy = config.start();
    let done = AtomicUsize::new(0);
    let (mut first, mut second) = (vec![0; 100_000], Vec::new());
    thread::scope(|scope| {
        let clients = scope.spawn(|| run_clients(&proxy, "n", &done));
        let (mut link, _) = listener.accept().unwrap();
        wait_held_back(&done);
        // The rest of what the kernels hold is lost with the connection.
        link.read_exact(&mut first).unwrap();
        drop(link);
        let (mut link, _) = listener.accept().unwrap();
        let second = &mut second;
        let reading = scope.spawn(move || link.read_to_end(second).unwrap());
        assert_eq!(clients.join().unwrap(), CLIENTS);
        proxy.wait_metric("mqtt_lb_session_ends_total", &[], CLIENTS as f64);
        assert_eq!(proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as u64, 0);
        proxy.signal(Signal::TERM);
        reading.join().unwrap();
    });
    // The first has a piece of a message at its end, the second whole messages alone.
    let (before, left) = counted(&first);
    let (after, rest) = counted(&second);
    assert!(!before.is_empty() && left > 0 && rest == 0, "{} {left} {rest}", before.len());
    let mut known: Vec<_> = before.iter().chain(&after).map(|message| &message.text).collect();
    let count = known.len();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), count, "a message came twice");
    assert!(count < 2 * CLIENTS);
    // All that was written after the connection broke is there.
    assert!(after.len() > CLIENTS, "{}", after.len());
}

/// A receiver that cannot be there is no reason not to start.
#[test]
fn a_receiver_of_no_known_name_is_a_warning() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.access_log = "{ path: access.log }, \
         { syslog: { to: \"tcp://nobody.invalid:601\" }, when_full: drop }"
        .to_owned();
    let proxy = Proxy::start_in(tempfile::tempdir().unwrap(), &config.text(), |_| program());
    proxy.wait_stderr("WARN access log: cannot connect to the receiver");
    Client::session(proxy.address(), "there");
    proxy.wait_end("there");
    proxy.wait_metric("mqtt_lb_access_log_dropped_total", &[], 2.0);
}
