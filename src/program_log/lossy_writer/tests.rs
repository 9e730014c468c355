use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// An output that takes a piece only when the test allows it.
struct Gated {
    pieces: Sender<Vec<u8>>,
    /// Whether the piece can be written.
    answers: Receiver<bool>,
}

impl Write for Gated {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let _ = self.pieces.send(piece.to_vec());
        match self.answers.recv() {
            Ok(true) | Err(_) => Ok(piece.len()),
            Ok(false) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer, and the test's ends of its output.
struct Bench {
    writer: LossyWriter,
    pieces: Receiver<Vec<u8>>,
    answers: Sender<bool>,
    reports: Receiver<u64>,
    dropped: IntCounter,
}

impl Bench {
    fn new(bound: usize) -> Self {
        let (written, pieces) = channel();
        let (answers, answered) = channel();
        let (report, reports) = channel();
        let dropped = IntCounter::new("dropped", "Of this test.").unwrap();
        let output = Gated { pieces: written, answers: answered };
        let report = move |lost| {
            let _ = report.send(lost);
        };
        let writer = LossyWriter::bounded(bound, output, dropped.clone(), report).unwrap();
        Self { writer, pieces, answers, reports, dropped }
    }

    /// The piece that is being written now.
    fn piece(&self) -> String {
        String::from_utf8(self.pieces.recv_timeout(WAIT_TIMEOUT).unwrap()).unwrap()
    }

    fn push_all(&self, lines: &[&str]) {
        for line in lines {
            self.writer.push(line.as_bytes());
        }
    }
}

#[test]
fn lines_keep_their_order_and_a_gap_is_told_where_it_is() {
    let bench = Bench::new(12);
    bench.push_all(&["first\n"]);
    assert_eq!(bench.piece(), "first\n");
    // During that write, ten bytes of twelve are queued, and nothing after the first line that does
    // not fit.
    bench.push_all(&["two\n", "three\n", "four\n", "5\n", "6\n"]);
    assert_eq!(bench.dropped.get(), 3);
    bench.answers.send(true).unwrap();
    assert_eq!(bench.piece(), "two\nthree\n");
    assert!(bench.reports.try_recv().is_err());
    // After the gap.
    bench.push_all(&["seven\n"]);
    bench.answers.send(true).unwrap();
    assert_eq!(bench.reports.recv_timeout(WAIT_TIMEOUT), Ok(3));
    assert_eq!(bench.piece(), "seven\n");
    bench.answers.send(true).unwrap();
    assert!(bench.writer.flush(WAIT_TIMEOUT));
    assert!(bench.reports.try_recv().is_err());
    assert_eq!(bench.dropped.get(), 3);
}

#[test]
fn many_threads_and_a_reader_lose_no_line_unless_it_is_counted() {
    let (written, pieces) = channel();
    let dropped = IntCounter::new("dropped", "Of this test.").unwrap();
    let (answers, answered) = channel();
    drop(answers);
    let output = Gated { pieces: written, answers: answered };
    let writer = LossyWriter::bounded(4000, output, dropped.clone(), |_| ()).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let writer = &writer;
            scope.spawn(move || {
                (0..5000).for_each(|n| writer.push(format!("{thread} {n}\n").as_bytes()));
            });
        }
    });
    assert!(writer.flush(WAIT_TIMEOUT));
    let written: Vec<u8> = pieces.try_iter().flatten().collect();
    let mut next = [0; 4];
    let mut lines = 0;
    for line in String::from_utf8(written).unwrap().lines() {
        let (thread, n) = line.split_once(' ').unwrap();
        let (thread, n) = (thread.parse::<usize>().unwrap(), n.parse::<u64>().unwrap());
        assert!(n >= next[thread], "{n} after {} of thread {thread}", next[thread]);
        next[thread] = n + 1;
        lines += 1;
    }
    assert_eq!(lines + dropped.get(), 20_000);
}

#[test]
fn what_cannot_be_written_is_counted_and_told_of_later() {
    let bench = Bench::new(100);
    bench.push_all(&["one\n"]);
    assert_eq!(bench.piece(), "one\n");
    bench.push_all(&["two\n", "three\n"]);
    bench.answers.send(false).unwrap();
    assert_eq!(bench.piece(), "two\nthree\n");
    assert_eq!(bench.dropped.get(), 1);
    bench.answers.send(false).unwrap();
    assert!(bench.writer.flush(WAIT_TIMEOUT));
    assert_eq!(bench.dropped.get(), 3);
    assert!(bench.reports.try_recv().is_err());
    bench.push_all(&["four\n"]);
    assert_eq!(bench.piece(), "four\n");
    bench.answers.send(true).unwrap();
    assert_eq!(bench.reports.recv_timeout(WAIT_TIMEOUT), Ok(3));
}

#[test]
fn flushing_ends_at_its_deadline() {
    let bench = Bench::new(100);
    bench.push_all(&["stuck\n"]);
    assert_eq!(bench.piece(), "stuck\n");
    assert!(!bench.writer.flush(Duration::from_millis(10)));
    bench.answers.send(true).unwrap();
    assert!(bench.writer.flush(WAIT_TIMEOUT));
}

#[test]
fn a_line_that_is_longer_than_all_there_is_room_for() {
    let bench = Bench::new(10);
    bench.push_all(&["longer than ten\n"]);
    assert_eq!(bench.reports.recv_timeout(WAIT_TIMEOUT), Ok(1));
    assert!(bench.writer.flush(WAIT_TIMEOUT));
    assert_eq!(bench.dropped.get(), 1);
}

#[test]
fn a_write_has_whole_lines_and_as_many_as_a_pipe_takes_at_once() {
    let line = |length: usize| "x".repeat(length - 1) + "\n";
    let lines = |lengths: &[usize]| lengths.iter().map(|n| line(*n)).collect::<String>();
    for (lengths, end) in [
        (&[5][..], 5),
        (&[1000, 3096], 4096),
        (&[1000, 3097], 1000),
        (&[5000, 10], 5000),
        (&[4095, 2], 4095),
    ] {
        assert_eq!(write_end(lines(lengths).as_bytes()), end, "{lengths:?}");
    }
    assert_eq!(write_end(b"no end"), 6);
}
