//! Logs that change while they are in use.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    pin::Pin,
    task::{Context, Waker},
};

use super::files::{TEST_TIMEOUT, block_on, entry, fifo, log, open, reader, wait_until, wanted};
use crate::{
    access_log::{
        logs::{AccessLogs, PreparedLogs},
        opened_outputs::{OpenError, OpenedOutputs},
        worker_logs::WorkerLogs,
    },
    config::{self, LogLineFormat, WhenFull},
    labels::Event,
};

fn prepare(logs: &AccessLogs, new: &[config::AccessLog]) -> Result<PreparedLogs, OpenError> {
    logs.prepare(new, OpenedOutputs::open(logs.missing(new))?)
}

/// Replaces the configured logs, as a reload does.
fn change(logs: &mut AccessLogs, writer: &WorkerLogs, new: &[config::AccessLog]) {
    let prepared = prepare(logs, new).unwrap();
    logs.commit(prepared);
    writer.replace(logs.worker_logs());
}

/// How many descriptors of this process refer to a file.
fn descriptors(path: &Path) -> usize {
    let fds = fs::read_dir("/proc/self/fd").unwrap().flatten();
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == path)).count()
}

/// Fills a log until a session has to wait; returns the number of lines written, and the session.
fn fill(writer: &WorkerLogs) -> (u64, Pin<Box<dyn Future<Output = ()> + '_>>) {
    let mut count = 0;
    loop {
        let mut waiting = Box::pin(writer.wait_for_room());
        if waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return (count, waiting);
        }
        writer.write(&entry("a", count));
        count += 1;
    }
}

#[test]
fn one_log_comes_and_another_goes_with_all_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.log"), dir.path().join("new.log"));
    let (mut logs, dropped) = open(&old, WhenFull::Block);
    let writer = logs.worker_logs();
    writer.write(&entry("a", 0));
    change(&mut logs, &writer, &[log(&new, WhenFull::Block)]);
    writer.write(&entry("a", 1));
    assert!(writer.has_lines());
    writer.flush();
    assert!(!writer.has_lines());
    wait_until("the old line", || fs::read_to_string(&old).unwrap() == wanted("a", 0) + "\n");
    wait_until("the new line", || fs::read_to_string(&new).unwrap() == wanted("a", 1) + "\n");
    wait_until("the old file to be closed", || descriptors(&old) == 0);

    change(&mut logs, &writer, &[]);
    assert!(!writer.wants(Event::Reject));
    writer.write(&entry("a", 2));
    wait_until("the new file to be closed", || descriptors(&new) == 0);
    assert_eq!(fs::read_to_string(&new).unwrap(), wanted("a", 1) + "\n");
    assert_eq!(dropped.get(), 0);
}

#[test]
fn the_same_path_keeps_its_file_and_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (mut logs, _) = open(&path, WhenFull::Block);
    let writer = logs.worker_logs();
    writer.write(&entry("a", 0));
    let format = LogLineFormat::Template("now ${session}".into());
    // After a rename, new lines show whether the old file is still open.
    let renamed = dir.path().join("renamed.log");
    fs::rename(&path, &renamed).unwrap();
    let new = config::AccessLog { format, ..log(&path, WhenFull::Drop) };
    change(&mut logs, &writer, &[new]);
    writer.write(&entry("a", 1));
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    let text = format!("{}\nnow {:016x}\n", wanted("a", 0), 1);
    assert_eq!(fs::read_to_string(&renamed).unwrap(), text);
    assert!(!path.exists());
}

#[test]
fn what_cannot_be_opened_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("access.log"), dir.path().join("other.log"));
    let (logs, _) = open(&path, WhenFull::Block);
    let writer = logs.worker_logs();
    let missing = log(&dir.path().join("missing/access.log"), WhenFull::Block);
    let new = [log(&other, WhenFull::Block), missing, log(&path, WhenFull::Drop)];
    assert!(prepare(&logs, &new).is_err());
    // A prepared log is discarded because of an error elsewhere in the configuration.
    drop(prepare(&logs, &new[..1]).unwrap());
    wait_until("the other file to be closed", || descriptors(&other) == 0);
    writer.write(&entry("a", 0));
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(fs::read_to_string(&path).unwrap(), wanted("a", 0) + "\n");
    assert_eq!(fs::read_to_string(&other).unwrap(), "");
}

/// The pipe is not read, so a session waits until the new configuration removes the log.
#[test]
fn sessions_do_not_wait_for_a_log_that_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("pipe"), dir.path().join("new.log"));
    fifo(&path);
    let mut pipe = reader(&path);
    let (mut logs, dropped) = open(&path, WhenFull::Block);
    let writer = logs.worker_logs();
    let (count, waiting) = fill(&writer);
    change(&mut logs, &writer, &[log(&new, WhenFull::Block)]);
    block_on(waiting);
    writer.write(&entry("a", count));

    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    });
    // All lines of the old log are written once the pipe is read, and then its thread ends.
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    let lines: Vec<_> = (0..count).map(|number| wanted("a", number) + "\n").collect();
    assert_eq!(reading.join().unwrap(), lines.concat());
    logs.close(TEST_TIMEOUT);
    assert_eq!(fs::read_to_string(&new).unwrap(), wanted("a", count) + "\n");
    assert_eq!(dropped.get(), 0);
}

/// A removed log on a full disk is abandoned in time, and each of its lines is counted.
#[test]
fn a_log_that_has_gone_and_cannot_be_written_is_given_up() {
    let (mut logs, dropped) = open(Path::new("/dev/full"), WhenFull::Block);
    let writer = logs.worker_logs();
    let (count, waiting) = fill(&writer);
    drop(waiting);
    change(&mut logs, &writer, &[]);
    assert!(writer.has_lines());
    wait_until("the lines to be given up", || {
        writer.flush();
        !writer.has_lines() && dropped.get() == count
    });
    logs.close(TEST_TIMEOUT);
}

#[test]
fn a_full_log_that_is_to_drop_holds_nobody_back_any_longer() {
    let (mut logs, dropped) = open(Path::new("/dev/full"), WhenFull::Block);
    let writer = logs.worker_logs();
    let (count, waiting) = fill(&writer);
    change(&mut logs, &writer, &[log(Path::new("/dev/full"), WhenFull::Drop)]);
    block_on(waiting);
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(dropped.get(), count);
}

/// A log that drops lines is changed to block.
#[test]
fn a_log_that_is_to_block_loses_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    fifo(&path);
    let pipe = reader(&path);
    let (mut logs, dropped) = open(&path, WhenFull::Drop);
    let writer = logs.worker_logs();
    while dropped.get() == 0 {
        writer.write(&entry("a", 0));
    }
    change(&mut logs, &writer, &[log(&path, WhenFull::Block)]);
    assert!(!writer.has_room());
    let reading = std::thread::spawn(move || {
        BufReader::new(pipe)
            .lines()
            .map_while(Result::ok)
            .filter(|line| line.starts_with('b'))
            .count()
    });
    for number in 0..10_000 {
        block_on(writer.wait_for_room());
        writer.write(&entry("b", number));
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(reading.join().unwrap(), 10_000);
    assert_eq!(dropped.get(), 1);
}

/// A second change comes while lines from before the first are still queued.
#[test]
fn changes_follow_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..4).map(|n| dir.path().join(format!("{n}.log"))).collect();
    let (mut logs, dropped) = open(&paths[0], WhenFull::Block);
    let writer = logs.worker_logs();
    for (number, path) in paths.iter().enumerate() {
        change(&mut logs, &writer, &[log(path, WhenFull::Block)]);
        writer.write(&entry("a", number as u64));
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    for (number, path) in paths.iter().enumerate() {
        let line = wanted("a", number as u64) + "\n";
        wait_until("the line", || fs::read_to_string(path).unwrap() == line);
    }
    assert_eq!(dropped.get(), 0);
}
