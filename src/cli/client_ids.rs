//! The client IDs that `mqtt-lb route` is asked for.

use std::{
    borrow::Cow,
    io::{self, BufRead, StdinLock},
    slice,
};

/// The client IDs that are asked for.
pub(super) struct ClientIds<'a> {
    from: From<'a>,
    line: u64,
    left_out: u64,
}

impl<'a> ClientIds<'a> {
    pub(super) fn of(ids: &'a [String]) -> Self {
        let from = if ids == ["-"] {
            From::Stdin(io::stdin().lock())
        } else {
            From::Arguments(ids.iter())
        };
        Self { from, line: 0, left_out: 0 }
    }

    /// The next one. What is not UTF-8 is told of and left out.
    pub(super) fn next_id(&mut self) -> io::Result<Option<Cow<'a, str>>> {
        let stdin = match &mut self.from {
            From::Arguments(ids) => return Ok(ids.next().map(Cow::from)),
            From::Stdin(stdin) => stdin,
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
                    self.left_out += 1;
                    eprintln!(
                        "mqtt-lb route: line {} is left out, as client IDs are UTF-8: {error}",
                        self.line
                    );
                }
            }
        }
    }

    /// Lines that were left out so far.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

enum From<'a> {
    Arguments(slice::Iter<'a, String>),
    Stdin(StdinLock<'static>),
}
