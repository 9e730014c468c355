//! Writing lines to files that are slow, full, renamed or gone.

use std::{
    fs::{self, File},
    future::Future,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::minimal;
use crate::{
    access_log::{
        entry::Entry, logs::AccessLogs, queue::QUEUE_CHUNKS, worker_buffer::MAX_BUFFER_BYTES,
    },
    config::{self, LogEvents, LogLineFormat, LogTarget, WhenFull},
    labels::Event,
    metrics::Metrics,
};

/// Longer than anything in these tests takes.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_mins(1);

pub(super) fn open(path: &Path, when_full: WhenFull) -> (AccessLogs, IntCounter) {
    let metrics = Metrics::new().access_logs();
    let dropped = metrics.dropped.clone();
    (AccessLogs::open(&[log(path, when_full)], metrics).unwrap(), dropped)
}

pub(in crate::access_log) fn log(path: &Path, when_full: WhenFull) -> config::AccessLog {
    let format = LogLineFormat::Template("${listener} ${session} ${username}".into());
    config::AccessLog {
        to: LogTarget::File(path.to_owned()),
        rotate: None,
        format,
        events: LogEvents::DEFAULT,
        when_full,
    }
}

/// Line `number` of a writer, and its bytes in the file.
pub(super) fn entry(writer: &str, number: u64) -> Entry<'_> {
    Entry { listener: Some(writer), session: Some(number), username: Some("someone"), ..minimal() }
}

pub(super) fn wanted(writer: &str, number: u64) -> String {
    format!("{writer} {number:016x} someone")
}

pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TEST_TIMEOUT, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a future that at most another thread wakes.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Opens a pipe's reading end without waiting for a writer; reads then wait as usual.
pub(super) fn reader(path: &Path) -> File {
    // A pipe opened for reading and writing is its own writer, so opening it does not wait.
    let both = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let reader = File::open(path).unwrap();
    drop(both);
    reader
}

#[test]
fn lines_arrive_after_a_flush_in_a_file_for_its_group_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    fs::write(&path, "kept\n").unwrap();
    let created = dir.path().join("created.log");
    let (logs, _) = open(&path, WhenFull::Block);
    let (others, _) = open(&created, WhenFull::Block);
    assert_eq!(fs::metadata(&created).unwrap().permissions().mode() & 0o777 & !0o640, 0);
    let writer = logs.worker_logs();
    assert!(writer.wants(Event::Connect) && !writer.has_lines());
    writer.write(&entry("a", 1));
    assert!(writer.has_lines());
    writer.flush();
    assert!(!writer.has_lines());
    let text = format!("kept\n{}\n", wanted("a", 1));
    wait_until("the line", || fs::read_to_string(&path).unwrap() == text);
    drop(writer);
    logs.close(TEST_TIMEOUT);
    others.close(TEST_TIMEOUT);
}

#[test]
fn without_a_log_nothing_is_done() {
    let logs = AccessLogs::open(&[], Metrics::new().access_logs()).unwrap();
    let writer = logs.worker_logs();
    writer.write(&minimal());
    assert!(!writer.wants(Event::Reject) && !writer.has_lines() && writer.has_room());
    logs.reopen();
    assert_eq!(writer.close(Duration::ZERO), 0);
    logs.close(Duration::ZERO);
}

#[test]
fn what_cannot_be_opened_is_named() {
    let log = log(Path::new("/nonexistent/access.log"), WhenFull::Drop);
    let error = AccessLogs::open(&[log], Metrics::new().access_logs()).err().unwrap().to_string();
    assert!(error.starts_with("access log /nonexistent/access.log: No such file"), "{error}");
}

/// Two workers write 100,000 lines each to a pipe whose reader is held back until both have to
/// wait.
#[test]
fn block_loses_nothing_and_stays_bounded() {
    const LINES: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    fifo(&path);
    let pipe = reader(&path);
    let (logs, dropped) = open(&path, WhenFull::Block);
    let (waiting, waits) = std::sync::mpsc::channel::<u64>();
    let workers: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|name| {
            let (writer, waiting) = (logs.worker_logs(), waiting.clone());
            thread::spawn(move || {
                block_on(async {
                    let mut told = false;
                    for number in 0..LINES {
                        if !told && !writer.has_room() {
                            waiting.send(number).unwrap();
                            told = true;
                        }
                        writer.wait_for_room().await;
                        writer.write(&entry(name, number));
                    }
                });
                assert_eq!(writer.close(TEST_TIMEOUT), 0);
            })
        })
        .collect();

    // Both wait; their lines are in the pipe (64 KiB), the writer's buffer, the queue and their own
    // buffers.
    let written: u64 = (0..2).map(|_| waits.recv_timeout(TEST_TIMEOUT).unwrap()).sum();
    let line = wanted("a", 0).len() + 1;
    let bytes = usize::try_from(written).unwrap() * line;
    let most = 64 * 1024 + (1 + QUEUE_CHUNKS + 2) * (MAX_BUFFER_BYTES + line);
    assert!(bytes <= most, "{bytes} bytes are held, more than {most}");

    let mut next = [0, 0];
    for line in BufReader::new(pipe).lines().take(2 * LINES as usize) {
        let line = line.unwrap();
        let worker = usize::from(line.starts_with('b'));
        assert_eq!(line, wanted(["a", "b"][worker], next[worker]));
        next[worker] += 1;
    }
    assert_eq!(next, [LINES, LINES]);
    for worker in workers {
        worker.join().unwrap();
    }
    logs.close(TEST_TIMEOUT);
    assert_eq!(dropped.get(), 0);
}

#[test]
fn drop_never_waits_and_counts_what_it_loses() {
    const LINES: u64 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    fifo(&path);
    let mut pipe = reader(&path);
    let (logs, dropped) = open(&path, WhenFull::Drop);
    let writer = logs.worker_logs();
    for number in 0..LINES {
        assert!(writer.has_room());
        writer.write(&entry("a", number));
    }
    assert!(dropped.get() > 0);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    let text = reading.join().unwrap();
    let mut next = 0;
    for line in text.lines() {
        let number = u64::from_str_radix(line.split(' ').nth(1).unwrap(), 16).unwrap();
        assert!(number >= next);
        assert_eq!(line, wanted("a", number));
        next = number + 1;
    }
    assert_eq!(text.lines().count() as u64 + dropped.get(), LINES);
}

#[test]
fn reopen_after_a_rename_starts_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, rotated) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let (logs, _) = open(&path, WhenFull::Block);
    let writer = logs.worker_logs();
    let write = |number| {
        writer.write(&entry("a", number));
        writer.flush();
    };
    write(0);
    wait_until("line 0", || fs::read_to_string(&path).unwrap() == wanted("a", 0) + "\n");
    fs::rename(&path, &rotated).unwrap();
    write(1);
    let both = format!("{}\n{}\n", wanted("a", 0), wanted("a", 1));
    wait_until("line 1", || fs::read_to_string(&rotated).unwrap() == both);
    logs.reopen();
    // The file is created at once, not only when there is a line to write.
    wait_until("the new file", || path.exists());
    write(2);
    wait_until("line 2", || fs::read_to_string(&path).unwrap() == wanted("a", 2) + "\n");
    assert_eq!(fs::read_to_string(&rotated).unwrap(), both);

    // A path that cannot be opened leaves the old file in use.
    fs::rename(&path, &rotated).unwrap();
    fs::create_dir(&path).unwrap();
    logs.reopen();
    write(3);
    let both = format!("{}\n{}\n", wanted("a", 2), wanted("a", 3));
    wait_until("line 3", || fs::read_to_string(&rotated).unwrap() == both);
    drop(writer);
    logs.close(TEST_TIMEOUT);
}

#[test]
fn a_full_disk_drops_and_counts() {
    let (logs, dropped) = open(Path::new("/dev/full"), WhenFull::Drop);
    let writer = logs.worker_logs();
    for number in 0..5_000 {
        writer.write(&entry("a", number));
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    assert_eq!(dropped.get(), 5_000);
}

/// The path links to a full device at first, then to a file, as if space had been freed.
#[test]
fn a_full_disk_blocks_until_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("access.log"), dir.path().join("file"));
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (logs, dropped) = open(&path, WhenFull::Block);
    let writer = logs.worker_logs();
    let mut count = 0;
    while writer.has_room() {
        writer.write(&entry("a", count));
        count += 1;
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&file, &path).unwrap();
    logs.reopen();
    block_on(writer.wait_for_room());
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(TEST_TIMEOUT);
    let lines: Vec<_> = (0..count).map(|number| wanted("a", number) + "\n").collect();
    assert_eq!(fs::read_to_string(&file).unwrap(), lines.concat());
    assert_eq!(dropped.get(), 0);
}

#[test]
fn closing_on_a_full_disk_gives_up_in_time_and_counts() {
    let (logs, dropped) = open(Path::new("/dev/full"), WhenFull::Block);
    let writer = logs.worker_logs();
    for number in 0..10 {
        writer.write(&entry("a", number));
    }
    assert_eq!(writer.close(TEST_TIMEOUT), 0);
    logs.close(Duration::from_millis(1));
    wait_until("the lines are counted", || dropped.get() == 10);
}

/// A worker blocked by a full pipe gives up at its deadline, and reports how many lines it dropped.
#[test]
fn a_worker_that_cannot_hand_over_counts_what_it_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    fifo(&path);
    let mut pipe = reader(&path);
    let (logs, dropped) = open(&path, WhenFull::Block);
    let writer = logs.worker_logs();
    let mut count = 0;
    while writer.has_room() {
        writer.write(&entry("a", count));
        count += 1;
    }
    let lost = writer.close(Duration::ZERO);
    assert!(lost > 0);
    assert_eq!(dropped.get(), lost as u64);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    });
    logs.close(TEST_TIMEOUT);
    assert_eq!(reading.join().unwrap().lines().count() + lost, usize::try_from(count).unwrap());
}

/// Bounds the future of a waiting session, which is part of that session's memory.
#[test]
fn waiting_for_room_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, _) = open(&dir.path().join("access.log"), WhenFull::Block);
    let writer = logs.worker_logs();
    assert!(size_of_val(&writer.wait_for_room()) <= 64, "{}", size_of_val(&writer.wait_for_room()));
}
