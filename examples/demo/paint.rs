//! Colours, on a terminal and nowhere else.

use std::{
    env,
    io::{IsTerminal, stdout},
};

#[derive(Clone, Copy)]
pub(crate) struct Paint {
    colours: bool,
}

impl Paint {
    /// Plain where standard output is no terminal, or where NO_COLOR (no-color.org) is set.
    pub(crate) fn for_stdout() -> Self {
        Self { colours: stdout().is_terminal() && env::var_os("NO_COLOR").is_none() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// `text` in a colour that is the same for the same broker.
    pub(crate) fn broker(self, text: &str) -> String {
        // Cyan, magenta, yellow: by the digit at the end of the name.
        let colour = match text.trim_end().bytes().last() {
            Some(b'1') => "36",
            Some(b'2') => "35",
            Some(b'3') => "33",
            _ => return text.to_owned(),
        };
        self.with(colour, text)
    }

    /// `code` is a Select Graphic Rendition parameter (ECMA-48, 8.3.117).
    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
