//! Walking the tree: every key is asked for once, every fault is noted with its place, and reading
//! goes on.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use super::{
    fault::{Fault, Position, quote},
    tree::{Node, Value},
    units::Wrong,
};

/// What every part of one file's reading shares.
pub(super) struct Reader<'a> {
    file: &'a Path,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    faults: RefCell<Vec<Fault>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { file, env, faults: RefCell::default() }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }

    /// Relative paths are relative to the folder of the file that names them.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// Proof that a fault was noted: a value that could not be read needs no second message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

pub(super) type Read<T> = Result<T, Reported>;

/// One value, and its place in the file.
pub(super) struct Item<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) path: String,
    pub(super) node: &'a Node,
}

impl<'a> Item<'a> {
    /// Notes what is wrong with this value.
    pub(super) fn fault(&self, message: impl Into<String>) -> Reported {
        fault(self.reader, self.node.at, &self.path, message)
    }

    /// Notes what is wrong with this value, and what may stand there instead.
    pub(super) fn wrong(&self, what: &str, allowed: &str) -> Reported {
        self.fault(format!("{what}; allowed: {allowed}"))
    }

    /// What this value's text means, if it could be made out.
    pub(super) fn understood<T>(&self, value: Result<T, Wrong>, allowed: &str) -> Read<T> {
        value.map_err(|wrong| self.wrong(&wrong, allowed))
    }

    /// The text of a single value, as written.
    pub(super) fn text(&self, allowed: &str) -> Read<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(self.wrong_kind(allowed)),
        }
    }

    /// The text of a number or a truth value, which quotes would make a string.
    pub(super) fn unquoted(&self, allowed: &str) -> Read<&'a str> {
        match &self.node.value {
            Value::Scalar { text, quoted: true } => {
                Err(self.fault(format!("{} is quoted; allowed: {allowed}", quote(text))))
            }
            _ => self.text(allowed),
        }
    }

    /// Reads a mapping, then reports the keys that `read` did not ask for.
    pub(super) fn section<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Read<T>) -> Read<T> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.wrong_kind("a mapping of keys to values"));
        };
        let mut section = Section {
            reader: self.reader,
            path: &self.path,
            at: self.node.at,
            entries,
            known: Vec::new(),
            lenient: false,
        };
        let value = read(&mut section);
        section.report_others();
        value
    }

    /// Reads every item of a list.
    pub(super) fn list<T>(&self, mut read: impl FnMut(&Item<'_>) -> Read<T>) -> Read<Vec<T>> {
        let Value::List(nodes) = &self.node.value else {
            return Err(self.wrong_kind("a list"));
        };
        let read_node = |(index, node)| {
            let path = format!("{}[{index}]", self.path);
            read(&Item { reader: self.reader, path, node })
        };
        // All are read before the first failure counts.
        let values: Vec<Read<T>> = nodes.iter().enumerate().map(read_node).collect();
        values.into_iter().collect()
    }

    /// Reads a list that must not be empty.
    pub(super) fn some<T>(&self, read: impl FnMut(&Item<'_>) -> Read<T>) -> Read<Vec<T>> {
        let values = self.list(read)?;
        if values.is_empty() {
            return Err(self.fault("is an empty list; allowed: one entry or more"));
        }
        Ok(values)
    }

    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    fn wrong_kind(&self, allowed: &str) -> Reported {
        let kind = match self.node.value {
            Value::Null => "is empty",
            Value::Scalar { .. } => "is a single value",
            Value::List(_) => "is a list",
            Value::Map(_) => "is a mapping",
            Value::Refused(reason) => return self.fault(reason),
        };
        self.fault(format!("{kind}; allowed: {allowed}"))
    }
}

/// A mapping being read. Keys are known by being asked for.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: &'a str,
    at: Position,
    entries: &'a [(Node, Node)],
    known: Vec<&'static str>,
    lenient: bool,
}

impl Section<'_> {
    /// A key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Item<'_>) -> Read<T>,
    ) -> Read<T> {
        self.optional(key, read)?.ok_or_else(|| self.missing(key, allowed))
    }

    /// Notes that a key should be there.
    pub(super) fn missing(&self, key: &str, allowed: &str) -> Reported {
        let path = join(self.path, key);
        fault(self.reader, self.at, &path, format!("is required; allowed: {allowed}"))
    }

    /// Notes what is wrong with the value of a key, seen beside the others.
    pub(super) fn fault(&self, key: &str, message: &str) -> Reported {
        let at = self.find(key).map_or(self.at, |node| node.at);
        fault(self.reader, at, &join(self.path, key), message)
    }

    /// Whether a key is there, which is not read yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Says nothing of keys that were not asked for: a fault that was noted hides which they are.
    pub(super) fn ignore_others(&mut self) {
        self.lenient = true;
    }

    /// A key whose absence means something of its own.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item<'_>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.known.push(key);
        let Some(node) = self.find(key) else { return Ok(None) };
        read(&Item { reader: self.reader, path: join(self.path, key), node }).map(Some)
    }

    /// A key whose absence means `default`, written as an operator would write it.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl FnOnce(&Item<'_>) -> Read<T>,
    ) -> Read<T> {
        self.with_default(key, Value::Scalar { text: default.to_owned(), quoted: false }, read)
    }

    /// A section of its own; when it is absent, all its keys are.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Read<T>,
    ) -> Read<T> {
        self.with_default(key, Value::Map(Vec::new()), |item| item.section(read))
    }

    fn with_default<T>(
        &mut self,
        key: &'static str,
        default: Value,
        read: impl FnOnce(&Item<'_>) -> Read<T>,
    ) -> Read<T> {
        self.known.push(key);
        let default = Node { at: self.at, value: default };
        let node = self.find(key).unwrap_or(&default);
        read(&Item { reader: self.reader, path: join(self.path, key), node })
    }

    /// An empty value is an absent one: a section whose keys are all commented out reads as such.
    fn find(&self, key: &str) -> Option<&Node> {
        let (_, node) = self.entries.iter().find(|(name, _)| name_of(name) == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    fn report_others(&self) {
        for (index, (key, _)) in self.entries.iter().enumerate() {
            let name = name_of(key);
            let path = join(self.path, name);
            let earlier = self.entries[..index].iter().find(|(other, _)| name_of(other) == name);
            let message = if let Some((first, _)) = earlier {
                format!("is there twice, first at line {}; keep one", first.at.line)
            } else if self.lenient || self.known.contains(&name) {
                continue;
            } else {
                let nearest = nearest(name, &self.known)
                    .map_or(String::new(), |key| format!(" (did you mean {key}?)"));
                format!("is an unknown key{nearest}; allowed: {}", self.known.join(", "))
            };
            fault(self.reader, key.at, &path, message);
        }
    }
}

fn fault(reader: &Reader<'_>, at: Position, path: &str, message: impl Into<String>) -> Reported {
    reader.faults.borrow_mut().push(Fault::new(reader.file, at, path, message));
    Reported(())
}

fn name_of(key: &Node) -> &str {
    match &key.value {
        Value::Scalar { text, .. } => text,
        _ => "(not a word)",
    }
}

fn join(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if key.chars().all(plain) { key.to_owned() } else { quote(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The known key that `name` was probably meant to be.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    // Two slips of the finger; more would guess.
    const FARTHEST: usize = 2;
    known
        .iter()
        .map(|key| (distance(name, key), *key))
        .filter(|(distance, key)| *distance <= FARTHEST && *distance < key.len())
        .min()
        .map(|(_, key)| key)
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        row[0] = left;
        for (cell, y) in row[1..].iter_mut().zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
