//! One log that two processes write during an upgrade.

use std::{
    io::{BufRead, BufReader},
    thread,
};

use super::files::{TEST_TIMEOUT, block_on, entry, fifo, open, reader, wanted};
use crate::config::WhenFull;

/// The pipe is full nearly all the time, so that writes wait in their middle.
#[test]
fn no_line_of_a_pipe_is_torn_apart() {
    const LINES: u64 = 50_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    fifo(&path);
    let pipe = reader(&path);
    let writing = ["a", "b"].map(|name| {
        let (logs, dropped) = open(&path, WhenFull::Block);
        thread::spawn(move || {
            let writer = logs.worker_logs();
            for number in 0..LINES {
                writer.write(&entry(name, number));
                block_on(writer.wait_for_room());
            }
            assert_eq!(writer.close(TEST_TIMEOUT), 0);
            logs.close(TEST_TIMEOUT);
            assert_eq!(dropped.get(), 0);
        })
    });
    let (mut next_a, mut next_b) = (0, 0);
    for line in BufReader::with_capacity(1000, pipe).lines().map(Result::unwrap) {
        let (name, next) =
            if line.starts_with('a') { ("a", &mut next_a) } else { ("b", &mut next_b) };
        assert_eq!(line, wanted(name, *next));
        *next += 1;
    }
    assert_eq!((next_a, next_b), (LINES, LINES));
    for thread in writing {
        thread.join().unwrap();
    }
}
