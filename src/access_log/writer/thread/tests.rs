//! Files that fail in the middle of a line: a full pipe stands for a full disk.

use std::{fs::File, io::Read, path::Path};

use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::{
    access_log::{output::LogFile, tests::files::log},
    config::WhenFull,
};

/// A writer to a nonblocking pipe, and the pipe's other end.
fn writer(path: &Path, when_full: WhenFull) -> (WriterThread, File) {
    let (reader, file) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    let dropped = IntCounter::new("dropped", "dropped").unwrap();
    let log = log(path, when_full);
    let file = LogFile::from_open(path, file.into()).unwrap().into_regular();
    let control = Arc::new(WriterControl::new(&log));
    let writer = WriterThread::new(log.to.to_string(), LogOutput::File(file), dropped, control);
    (writer, reader.into())
}

/// Lines whose length does not divide a page, so that a full pipe ends within a line.
fn chunk(from: usize) -> Vec<u8> {
    (from..from + 10_000).flat_map(|n| format!("line {n:07}\n").into_bytes()).collect()
}

/// The current content of the pipe.
fn read_all(mut reader: &File) -> String {
    let mut bytes = vec![0; 1 << 20];
    let count = reader.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

#[test]
fn drop_completes_a_partial_line_and_counts_the_rest() {
    let (mut writer, reader) = writer(Path::new("/nonexistent"), WhenFull::Drop);
    writer.write_chunk(chunk(0));
    let first = read_all(&reader);
    assert!(!first.ends_with('\n'), "the pipe must be full in the middle of a line");
    let whole = first.lines().count();
    assert_eq!(writer.dropped.get(), 10_000 - whole as u64);
    writer.write_chunk(b"next\n".to_vec());
    let text = first + &read_all(&reader);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[whole - 1], format!("line {:07}", whole - 1));
    assert_eq!(lines[whole..], ["next"]);
    assert_eq!(writer.dropped.get(), 10_000 - whole as u64);
}

#[test]
fn drop_keeps_only_the_partial_line_while_the_file_fails() {
    let (mut writer, reader) = writer(Path::new("/nonexistent"), WhenFull::Drop);
    for from in [0, 10_000, 20_000] {
        writer.write_chunk(chunk(from));
        assert_eq!(writer.pending.len(), "line 0000000\n".len());
    }
    let whole = read_all(&reader).lines().count() as u64;
    assert_eq!(writer.dropped.get(), 30_000 - whole);
}

#[test]
fn drop_writes_a_partial_line_whole_to_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let (mut writer, reader) = writer(&path, WhenFull::Drop);
    writer.write_chunk(chunk(0));
    let partial = read_all(&reader).lines().count() - 1;
    writer.control.request_reopen();
    writer.reopen_if_requested();
    writer.write_chunk(b"next\n".to_vec());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("line {partial:07}\nnext\n"));
}

#[test]
fn block_continues_in_a_new_file_with_a_whole_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let (mut writer, reader) = writer(&path, WhenFull::Block);
    // Requested during the wait: the pipe is full before the writer checks.
    writer.control.request_reopen();
    writer.write_chunk(chunk(0));
    let old = read_all(&reader);
    let whole = old.matches('\n').count();
    let new = std::fs::read_to_string(&path).unwrap();
    let text = format!("{}\n{new}", old.lines().take(whole).collect::<Vec<_>>().join("\n"));
    assert_eq!(text.as_bytes(), chunk(0));
    assert_eq!(writer.dropped.get(), 0);
}

/// The pipe is read in small pieces while the writer waits: every byte arrives once, in order.
#[test]
fn block_continues_in_the_same_file_where_it_stopped() {
    let (mut writer, reader) = writer(Path::new("/nonexistent"), WhenFull::Block);
    let writing = thread::spawn(move || {
        writer.write_chunk(chunk(0));
        writer.dropped.get()
    });
    let mut text = Vec::new();
    while text.len() < chunk(0).len() {
        let mut bytes = vec![0; 50_000];
        match (&reader).read(&mut bytes) {
            Ok(count) => text.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(text, chunk(0));
    assert_eq!(writing.join().unwrap(), 0);
}
