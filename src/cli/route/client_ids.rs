//! The client IDs that `mqtt-lb route` gets.

use std::{
    borrow::Cow,
    io::{self, BufRead, StdinLock},
    slice,
};

use super::report::report;

/// Client IDs from the arguments or standard input.
pub(super) struct ClientIds<'a> {
    source: IdSource<'a>,
    line: u64,
    skipped: u64,
}

impl<'a> ClientIds<'a> {
    pub(super) fn of(ids: &'a [String]) -> Self {
        let source = if ids == ["-"] {
            IdSource::Stdin(io::stdin().lock())
        } else {
            IdSource::Arguments(ids.iter())
        };
        Self { source, line: 0, skipped: 0 }
    }

    /// The next client ID. Lines that are not UTF-8 are reported and skipped.
    pub(super) fn next_id(&mut self) -> io::Result<Option<Cow<'a, str>>> {
        let stdin = match &mut self.source {
            IdSource::Arguments(ids) => return Ok(ids.next().map(Cow::from)),
            IdSource::Stdin(stdin) => stdin,
        };
        loop {
            let mut line = Vec::new();
            if stdin.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            let line = match line.strip_suffix(b"\n") {
                Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
                None => &line,
            };
            match str::from_utf8(line) {
                Ok(id) => return Ok(Some(Cow::from(id.to_owned()))),
                Err(error) => {
                    self.skipped += 1;
                    report(&format_args!("line {} skipped, not UTF-8: {error}", self.line));
                }
            }
        }
    }

    /// Lines skipped so far.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }
}

enum IdSource<'a> {
    Arguments(slice::Iter<'a, String>),
    Stdin(StdinLock<'static>),
}
