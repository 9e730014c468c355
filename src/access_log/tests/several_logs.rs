//! Several logs at once: the lines in each, and their formats.

use std::{fs, path::Path, sync::Arc, time::Duration};

use super::{
    files::{TEST_TIMEOUT, log, wait_until},
    minimal,
};
use crate::{
    access_log::{entry::Entry, logs::AccessLogs, syslog_header::SyslogHeader},
    config::{AccessLog, LogEvents, LogLineFormat, Rotate, Syslog, SyslogAddress, WhenFull},
    labels::Event,
    metrics::Metrics,
    timestamp::Timestamp,
};

const NONE: LogEvents = LogEvents::NONE;

fn open(logs: &[AccessLog]) -> AccessLogs {
    AccessLogs::open(logs, Metrics::new().access_logs()).unwrap()
}

fn of(path: &Path, format: &str, events: LogEvents) -> AccessLog {
    let format = LogLineFormat::Template(format.into());
    AccessLog { format, events, ..log(path, WhenFull::Block) }
}

#[test]
fn each_log_has_its_events_in_its_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (short, long) = ("${event}", "${event} of ${listener}");
    let logs = open(&[
        of(&path("default"), short, LogEvents::DEFAULT),
        of(&path("probes"), short, LogEvents { probe: true, ..NONE }),
        of(&path("long"), long, LogEvents { connect: true, disconnect: true, ..NONE }),
        of(&path("rejects"), short, LogEvents { reject: true, ..NONE }),
        of(&path("ends"), short, LogEvents { disconnect: true, reject: true, ..NONE }),
    ]);
    let writer = logs.worker_logs();
    assert!(Event::ALL.iter().all(|&event| writer.wants(event)));
    for &event in Event::ALL {
        writer.write(&Entry { event, ..minimal() });
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    for (name, text) in [
        ("default", "connect\ndisconnect\nreject\nban\n"),
        ("probes", "probe\n"),
        ("long", "connect of mqtt\ndisconnect of mqtt\n"),
        ("rejects", "reject\n"),
        ("ends", "disconnect\nreject\n"),
    ] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), text, "{name}");
    }
}

#[test]
fn an_event_that_no_log_has_is_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let events = LogEvents { reject: true, ..NONE };
    let logs = open(&[of(&dir.path().join("a"), "${event}", events)]);
    let writer = logs.worker_logs();
    assert!(writer.wants(Event::Reject));
    assert!(!writer.wants(Event::Connect) && !writer.wants(Event::Disconnect));
    writer.write(&Entry { event: Event::Connect, ..minimal() });
    assert!(!writer.has_lines());
    drop(writer);
    logs.close(TEST_TIMEOUT);
}

/// A full log does not count an event that it does not record.
#[test]
fn lines_that_are_not_wanted_are_not_counted_as_dropped() {
    let metrics = Metrics::new().access_logs();
    let events = LogEvents { reject: true, ..NONE };
    let log = AccessLog { events, ..log(Path::new("/dev/full"), WhenFull::Drop) };
    let logs = AccessLogs::open(&[log], metrics.clone()).unwrap();
    let writer = logs.worker_logs();
    for number in 0..3 {
        writer.write(&Entry { session: Some(number), ..minimal() });
        writer.write(&Entry { event: Event::Connect, ..minimal() });
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(metrics.dropped.get(), 3);
}

#[test]
fn the_header_of_a_syslog_message() {
    let header = |severity| {
        let to = SyslogAddress::Udp("127.0.0.1:514".into());
        SyslogHeader::new(&Syslog { to, facility: 16, severity, app_name: Arc::from("lb") })
    };
    let written = |severity, event| {
        let mut stamp = Timestamp::default();
        stamp.set(minimal().time);
        let mut out = Vec::new();
        header(severity).write(event, &stamp, &mut out);
        String::from_utf8(out).unwrap()
    };
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    let pid = std::process::id();
    let wanted =
        |pri, event| format!("<{pri}>1 2026-11-22T23:22:27.123Z {host} lb {pid} {event} - ");
    // 8 x local0 (16), plus info (6) or notice (5).
    assert_eq!(written(6, Event::Connect), wanted(134, "connect"));
    assert_eq!(written(6, Event::Disconnect), wanted(134, "disconnect"));
    assert_eq!(written(6, Event::Reject), wanted(133, "reject"));
    assert_eq!(written(2, Event::Reject), wanted(130, "reject"));
}

/// The numbers of the lines in a file.
fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}: {text:?}", path.display());
    text.lines().map(|line| u64::from_str_radix(line, 16).unwrap()).collect()
}

#[test]
fn a_file_that_is_full_is_put_aside() {
    const SIZE: u64 = 4096;
    // A line has 17 bytes, so a file holds 240 of them with a few bytes to spare.
    const LINES: u64 = 240;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let old = |number: u64| dir.path().join(format!("access.log.{number}"));
    // From an earlier configuration, which kept more files.
    fs::write(old(4), "gone\n").unwrap();
    let rotate = Some(Rotate { size: Some(SIZE), age: None, keep: 3 });
    let log = AccessLog { rotate, ..of(&path, "${session}", LogEvents::DEFAULT) };
    let logs = open(&[log]);
    let writer = logs.worker_logs();
    // Five full files and ten more lines.
    let count = 5 * LINES + 10;
    for session in 0..count {
        writer.write(&Entry { session: Some(session), ..minimal() });
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(numbers(&path), (5 * LINES..count).collect::<Vec<_>>());
    for number in 1..=3 {
        let first = (5 - number) * LINES;
        assert_eq!(numbers(&old(number)), (first..first + LINES).collect::<Vec<_>>());
    }
    assert!(!old(4).exists() && !old(5).exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn a_file_that_is_old_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let age = Duration::from_millis(1);
    let rotate = Some(Rotate { size: None, age: Some(age), keep: 1 });
    let logs = open(&[AccessLog { rotate, ..of(&path, "${session}", LogEvents::DEFAULT) }]);
    let writer = logs.worker_logs();
    for session in 0..2 {
        writer.write(&Entry { session: Some(session), ..minimal() });
        writer.flush();
        wait_until("the line", || numbers(&path) == [session]);
        let born = fs::metadata(&path).unwrap().created().unwrap();
        wait_until("the file to be old", || born.elapsed().is_ok_and(|elapsed| elapsed >= age));
    }
    assert_eq!(numbers(&path), [1]);
    assert_eq!(numbers(&dir.path().join("access.log.1")), [0]);
    drop(writer);
    logs.close(TEST_TIMEOUT);
}

/// If the rotation fails, the log grows, and no line is lost.
#[test]
fn a_rotation_that_fails_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    // A folder at the new file's path.
    fs::create_dir(dir.path().join("access.log.new")).unwrap();
    let rotate = Some(Rotate { size: Some(1024), age: None, keep: 3 });
    let logs = open(&[AccessLog { rotate, ..of(&path, "${session}", LogEvents::DEFAULT) }]);
    let writer = logs.worker_logs();
    for session in 0..1000 {
        writer.write(&Entry { session: Some(session), ..minimal() });
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(numbers(&path), (0..1000).collect::<Vec<_>>());
    assert!(!dir.path().join("access.log.1").exists());
}

/// A rotation does not fail if another process removes files that it would rename.
#[test]
fn files_that_others_took_away_are_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let rotate = Some(Rotate { size: Some(1024), age: None, keep: 3 });
    let logs = open(&[AccessLog { rotate, ..of(&path, "${session}", LogEvents::DEFAULT) }]);
    let writer = logs.worker_logs();
    // 60 lines fill a file.
    for session in 0..60 {
        writer.write(&Entry { session: Some(session), ..minimal() });
    }
    writer.flush();
    wait_until("the lines", || numbers(&path).len() == 60);
    fs::remove_file(&path).unwrap();
    writer.write(&Entry { session: Some(60), ..minimal() });
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(numbers(&path), [60]);
}
