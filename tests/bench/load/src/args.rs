//! Command-line options of the form `--name value`, `--flag`.

use std::{fmt::Display, process::exit, str::FromStr};

pub struct Args {
    usage: &'static str,
    rest: Vec<String>,
}

impl Args {
    /// The program's arguments; `--help` prints `usage` and ends the program.
    pub fn parse(usage: &'static str) -> Self {
        let rest: Vec<String> = std::env::args().skip(1).collect();
        if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
            println!("{usage}");
            exit(0);
        }
        Self { usage, rest }
    }

    /// Takes the first argument, which must not be an option.
    pub fn command(&mut self) -> String {
        match self.rest.first() {
            Some(first) if !first.starts_with('-') => self.rest.remove(0),
            _ => self.fail("a command is missing"),
        }
    }

    /// Takes `--name` if it is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let position = self.rest.iter().position(|arg| arg == name);
        position.map(|at| self.rest.remove(at)).is_some()
    }

    /// Takes every `--name value`, in order.
    pub fn all<T: FromStr<Err: Display>>(&mut self, name: &str) -> Vec<T> {
        let mut values = Vec::new();
        while let Some(at) = self.rest.iter().position(|arg| arg == name) {
            if at + 1 == self.rest.len() {
                self.fail(&format!("{name} needs a value"));
            }
            let text = self.rest.drain(at..=at + 1).next_back().unwrap_or_default();
            match text.parse() {
                Ok(value) => values.push(value),
                Err(error) => self.fail(&format!("{name} {text}: {error}")),
            }
        }
        values
    }

    /// Takes `--name value`; the last one counts.
    pub fn value<T: FromStr<Err: Display>>(&mut self, name: &str, default: T) -> T {
        self.all(name).pop().unwrap_or(default)
    }

    /// Takes `--name value`, which must be there.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> T {
        match self.all(name).pop() {
            Some(value) => value,
            None => self.fail(&format!("{name} is missing")),
        }
    }

    /// Ends the program if an argument was not understood.
    pub fn finish(self) {
        if let Some(arg) = self.rest.first() {
            self.fail(&format!("unknown argument {arg}"));
        }
    }

    pub fn fail(&self, message: &str) -> ! {
        eprintln!("{message}\n\n{}", self.usage);
        exit(2)
    }
}
