//! From the file to a [`Config`], or to its faults.

use std::{collections::HashSet, env, fs, path::Path};

use serde::Deserialize as _;

use super::{
    Admin, Config, Fault, Faults, FileState, ReadFile,
    at::At,
    configuration::{Source, Text},
    de::{Item, Reader},
    effective::effective,
    fault::Position,
    raw,
    tree::{self, Node, Value},
    validate::{self, Checker, Valid},
};

/// The example in the fault of an empty file.
const SMALLEST: &str = "{ listeners: [{ name: mqtt, bind: \"0.0.0.0:1883\", pool: brokers }], \
    pools: [{ name: brokers, upstreams: [{ name: broker-1, address: \"10.0.0.7:1883\" }] }] }";

/// How often files that change all the time are read in a row.
const MAX_READS: usize = 4;

impl Config {
    /// Reads and checks a file, and the files and environment variables that it names.
    ///
    /// # Errors
    /// Every fault of the file, in its order.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::parse(&text_of(path)?, path, &|name| env::var(name).ok())
    }

    /// Reads and checks the text of a file.
    ///
    /// `file` is the name in messages, and its folder the base of relative paths; `env` gives the
    /// values of environment variables.
    ///
    /// # Errors
    /// Every fault of the text, in its order.
    pub fn parse(
        text: &str,
        file: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Faults> {
        let root = parse(text, file)?;
        let reader = Reader::new(file, env, false);
        let raw = read::<raw::Config>(&reader, &root, "");
        let config = validate::config(&Checker(&reader), &raw);
        let files = each_once(reader.files_after(0));
        let config = finish(reader, config)?;
        let source = Source { file: file.to_owned(), text: Text(text.into()) };
        Ok(Self { files, source, effective: Text(effective(raw)), ..config })
    }

    /// Reads the files that it names again; its own file is not read. TLS of which no file has
    /// changed is kept, with its session tickets. Files with a fault that have changed meanwhile
    /// are read once more: a certificate and its key may be replaced between the two reads.
    ///
    /// # Errors
    /// Every fault of these files, with the place of the key that names the file.
    pub(crate) fn with_files_read_again(&self) -> Result<Self, Faults> {
        let mut before = self.file_states();
        let mut read = self.read_files_once();
        for _ in 1..MAX_READS {
            let after = self.file_states();
            if read.is_ok() || after == before {
                break;
            }
            before = after;
            read = self.read_files_once();
        }
        read
    }

    /// The present states of `files`.
    pub(crate) fn file_states(&self) -> Vec<FileState> {
        self.files.iter().map(|file| FileState::of(&file.path)).collect()
    }

    fn read_files_once(&self) -> Result<Self, Faults> {
        let Source { file, text: Text(text) } = &self.source;
        let mut config = Self::parse(text, file, &|name| env::var(name).ok())?;
        for (new, old) in config.listeners.iter_mut().zip(&self.listeners) {
            keep_unchanged(new.tls.as_mut(), old.tls.as_ref(), |tls| &tls.files);
        }
        for (new, old) in config.pools.iter_mut().zip(&self.pools) {
            keep_unchanged(new.tls.as_mut(), old.tls.as_ref(), |tls| &tls.files);
        }
        Ok(config)
    }

    /// The configuration as YAML with every default filled in; it reads back as the same one. Files,
    /// those of secrets included, are in it by name, and environment variables as they are written.
    pub fn effective(&self) -> &str {
        &self.effective.0
    }
}

impl Admin {
    /// Reads only the section `admin`, and ignores faults elsewhere in the file. `None`: the file has
    /// no such section. The token is read only `with_token`.
    ///
    /// # Errors
    /// Every fault of that section, or the fault that prevents reading the file.
    pub fn load(path: &Path, with_token: bool) -> Result<Option<Self>, Faults> {
        let root = parse(&text_of(path)?, path)?;
        let env = |name: &str| env::var(name).ok();
        let reader = Reader::new(path, &env, !with_token);
        let Some(node) = root.entry("admin") else { return Ok(None) };
        let raw = read::<raw::Admin>(&reader, node, "admin");
        let admin = validate::admin_alone(&Checker(&reader), &raw, with_token);
        finish(reader, admin).map(Some)
    }
}

/// The first state of each file: if it has changed since, that is noticed.
fn each_once(files: Vec<ReadFile>) -> Vec<ReadFile> {
    let mut seen = HashSet::new();
    files.into_iter().filter(|file| seen.insert(file.path.clone())).collect()
}

fn keep_unchanged<T: Clone>(
    new: Option<&mut T>,
    old: Option<&T>,
    files: impl Fn(&T) -> &Vec<ReadFile>,
) {
    if let (Some(new), Some(old)) = (new, old)
        && files(new) == files(old)
    {
        *new = old.clone();
    }
}

fn text_of(path: &Path) -> Result<String, Faults> {
    let whole = |at, message| Faults::from(Fault::new(path, at, "", message));
    let bytes = fs::read(path)
        .map_err(|error| whole(Position::START, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        whole(Position::after(&before), "is not UTF-8 from here on".to_owned())
    })
}

fn parse(text: &str, file: &Path) -> Result<Node, Faults> {
    // Editors of some systems put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = tree::parse(text).map_err(|error| Fault::new(file, error.at, "", error.message))?;
    if matches!(root.value, Value::Null) {
        let message = format!("is empty; the smallest config is {SMALLEST}");
        return Err(Fault::new(file, root.at, "", message).into());
    }
    Ok(root)
}

fn read<'de, T: serde::Deserialize<'de>>(reader: &Reader<'_>, node: &Node, path: &str) -> At<T> {
    let item = Item { reader, node, path: path.to_owned() };
    // Reading into `At` notes faults and never fails.
    At::deserialize(item).unwrap_or(At::MISSING)
}

fn finish<T>(reader: Reader<'_>, value: Valid<T>) -> Result<T, Faults> {
    let file = reader.file();
    let faults = reader.into_faults();
    match value {
        Ok(value) if faults.is_empty() => Ok(value),
        Err(_) if faults.is_empty() => {
            Err(Fault::new(file, Position::START, "", "cannot be read").into())
        }
        _ => Err(Faults::in_order(faults)),
    }
}
