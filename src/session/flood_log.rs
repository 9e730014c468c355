//! Bounds the lines that a flood of refused connections writes into the access log.

use std::cell::Cell;

/// The lines that each worker writes a second about connections that were refused for their address
/// alone: enough to see who it is; a worker can refuse a thousand times as many.
const MAX_LINES_PER_SECOND: u32 = 10;

/// One worker's count of these lines.
#[derive(Default)]
pub(crate) struct FloodLog {
    /// The second of the last line, and the lines written in it.
    written: Cell<(u32, u32)>,
    /// Refusals without a line since the last line.
    unlogged: Cell<u64>,
}

impl FloodLog {
    /// Whether one more refusal is written, in this second of the worker: the number of refusals
    /// that were not since the last one.
    pub(crate) fn admit(&self, second: u32) -> Option<u64> {
        let (last, lines) = self.written.get();
        let lines = if last == second { lines } else { 0 };
        if lines == MAX_LINES_PER_SECOND {
            self.unlogged.set(self.unlogged.get() + 1);
            return None;
        }
        self.written.set((second, lines + 1));
        Some(self.unlogged.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_a_second_and_the_number_of_the_others() {
        let log = FloodLog::default();
        let written = |second| (0..25).filter_map(|_| log.admit(second)).collect::<Vec<_>>();
        assert_eq!(written(1), [0; 10]);
        assert_eq!(written(2), [15, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(written(9)[..2], [15, 0]);
    }
}
