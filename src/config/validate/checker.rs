//! How validation notes faults and reads files.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use crate::config::{
    Secret,
    at::{At, Place},
    de::Reader,
    fault::{Position, quote},
    list_file::read_list_file,
    raw::{Entries, OneOrMore},
    read_file::ReadFile,
    regular_file::read_regular_file,
    values::FilePath,
};

/// Proof that a fault was noted: a value with a fault needs no second message.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Reported(());

impl Reported {
    /// For a value that depends on one whose fault was noted elsewhere.
    pub(super) fn already() -> Self {
        Self(())
    }
}

pub(in crate::config) type Valid<T> = Result<T, Reported>;

impl<T> At<T> {
    /// The value, unless it had a fault.
    pub(super) fn get(&self) -> Valid<&T> {
        self.value.as_ref().ok_or(Reported(()))
    }

    /// The place of the value, or the start of the file if it is a default.
    pub(super) fn place(&self) -> Place {
        let start = || Place { position: Position::START, path: String::new() };
        self.place.clone().unwrap_or_else(start)
    }
}

impl<T> At<Vec<At<T>>> {
    /// Every entry of a list. All are validated, so that the faults of all are noted.
    pub(super) fn each<'v, V>(
        &'v self,
        validate: impl FnMut(&'v At<T>) -> Valid<V>,
    ) -> Valid<Vec<V>> {
        let values: Vec<Valid<V>> = self.get()?.iter().map(validate).collect();
        values.into_iter().collect()
    }
}

/// A section or value that may be absent.
pub(super) fn given<'v, T, V>(
    value: Option<&'v At<T>>,
    validate: impl FnOnce(&'v At<T>) -> Valid<V>,
) -> Valid<Option<V>> {
    value.map(validate).transpose()
}

/// What the validation of every part of one file shares.
pub(in crate::config) struct Checker<'a>(pub(in crate::config) &'a Reader<'a>);

impl Checker<'_> {
    /// Notes what is wrong at a place.
    pub(super) fn fault(&self, at: &Place, message: impl Into<String>) -> Reported {
        self.0.note(at.position, &at.path, message);
        Reported(())
    }

    /// Notes what is wrong at a place, and what is allowed instead.
    pub(super) fn wrong(&self, at: &Place, what: impl Display, allowed: &str) -> Reported {
        self.fault(at, format!("{what}; allowed: {allowed}"))
    }

    /// Notes that a required key is missing.
    pub(super) fn missing(&self, section: &Place, key: &str, allowed: &str) -> Reported {
        self.wrong(&section.key(key), "is required", allowed)
    }

    /// A required value.
    pub(super) fn required<'v, T>(
        &self,
        section: &Place,
        key: &str,
        value: &'v At<T>,
        allowed: &str,
    ) -> Valid<&'v T> {
        match (&value.place, &value.value) {
            (None, None) => Err(self.missing(section, key, allowed)),
            _ => value.get(),
        }
    }

    /// Every entry of a list that must not be empty.
    pub(super) fn some<'v, T, V>(
        &self,
        list: &'v At<Vec<At<T>>>,
        validate: impl FnMut(&'v At<T>) -> Valid<V>,
    ) -> Valid<Vec<V>> {
        if list.get()?.is_empty() {
            return Err(self.wrong(&list.place(), "is an empty list", "one entry or more"));
        }
        list.each(validate)
    }

    /// Every entry of a list that must not be empty, each of which may be listed once.
    pub(super) fn distinct<'v, T, V: PartialEq>(
        &self,
        list: &'v At<Vec<At<T>>>,
        validate: impl FnMut(&'v At<T>) -> Valid<V>,
    ) -> Valid<Vec<V>> {
        self.distinct_in(list.get()?, &list.place(), validate)
    }

    /// [`Self::distinct`] for a list at this place.
    pub(super) fn distinct_in<'v, T, V: PartialEq>(
        &self,
        list: &'v [At<T>],
        place: &Place,
        validate: impl FnMut(&'v At<T>) -> Valid<V>,
    ) -> Valid<Vec<V>> {
        if list.is_empty() {
            return Err(self.wrong(place, "is an empty list", "one entry or more"));
        }
        let values: Vec<Valid<V>> = list.iter().map(validate).collect();
        let values = values.into_iter().collect::<Valid<Vec<V>>>()?;
        let is_repeated = |&at: &usize| values[..at].contains(&values[at]);
        match (1..values.len()).find(is_repeated) {
            None => Ok(values),
            Some(at) => {
                let what = "is listed twice";
                Err(self.wrong(&list[at].place(), what, "each entry once"))
            }
        }
    }

    /// Relative paths are relative to the folder of the file that names them.
    pub(super) fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.file().parent().unwrap_or(Path::new("")).join(path)
    }

    /// The path of a socket.
    pub(super) fn socket_path(&self, at: &Place, path: &Path) -> Valid<PathBuf> {
        // The 108 bytes of sun_path end in a zero: unix(7).
        const MAX_BYTES: usize = 107;
        let absolute = self.absolute(path);
        if absolute.as_os_str().len() > MAX_BYTES {
            let path = quote(&path.to_string_lossy());
            let allowed = format!("a path of 1 to {MAX_BYTES} bytes, its folder included");
            return Err(self.wrong(at, format!("{path} is not the path of a socket"), &allowed));
        }
        Ok(absolute)
    }

    /// A file to write; its folder must be there.
    pub(super) fn output_file(&self, file: &At<FilePath>) -> Valid<PathBuf> {
        let (FilePath(text), at) = (file.get()?, file.place());
        let path = self.absolute(&**text);
        if matches!(&**text, "" | "-" | "stdout" | "stderr") || path.is_dir() {
            let what = format!("{} is not a file", quote(text));
            return Err(self.wrong(&at, what, "the path of a file, or /dev/stdout"));
        }
        self.needs_folder(&at, &path)?;
        Ok(path)
    }

    pub(super) fn needs_folder(&self, at: &Place, path: &Path) -> Valid<()> {
        match path.parent() {
            // A relative config file's own folder.
            Some(folder) if folder.as_os_str().is_empty() || folder.is_dir() => Ok(()),
            _ => {
                let path = quote(&path.to_string_lossy());
                let what = format!("the folder of {path} is missing");
                Err(self.wrong(at, what, "a folder that exists"))
            }
        }
    }

    /// A file that `parse` understands, with its path. An error is the end of a sentence.
    pub(super) fn file<T>(
        &self,
        file: &At<FilePath>,
        allowed: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Valid<(PathBuf, T)> {
        let (FilePath(name), at) = (file.get()?, file.place());
        let path = self.absolute(&**name);
        self.0.note_file(ReadFile::before_reading(&path));
        let parsed = read_regular_file(&path).and_then(|contents| parse(&contents));
        match parsed {
            Ok(parsed) => Ok((path, parsed)),
            Err(wrong) => Err(self.wrong(&at, format!("{} {wrong}", quote(name)), allowed)),
        }
    }

    /// The entries that are written in place; without one, a file has to be named.
    pub(super) fn entries<T, V>(
        &self,
        entries: &At<Entries<T>>,
        validate: impl FnMut(&At<T>) -> Valid<V>,
    ) -> Valid<Vec<V>> {
        let Entries { any, file } = entries.get()?;
        let OneOrMore(list) = any.get()?;
        if list.is_empty() && file.is_none() {
            return Err(self.wrong(&entries.place(), "is empty", "one entry or more, or a file"));
        }
        let values: Vec<Valid<V>> = list.iter().map(validate).collect();
        values.into_iter().collect()
    }

    /// The entries of a file with one a line, as [`read_list_file`] reads them. Each line that is
    /// wrong is a fault: `parse` says what is wrong and what is allowed.
    pub(super) fn list_file<T>(
        &self,
        file: &At<FilePath>,
        parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Valid<Vec<T>> {
        let (FilePath(name), at) = (file.get()?, file.place());
        let path = self.absolute(&**name);
        self.0.note_file(ReadFile::before_reading(&path));
        read_list_file(&path, parse).map_err(|faults| {
            for wrong in faults {
                self.fault(&at, format!("{} {wrong}", quote(name)));
            }
            Reported(())
        })
    }

    /// The token in a file, in characters that an HTTP header can carry.
    pub(super) fn token(&self, file: &At<FilePath>) -> Valid<Secret> {
        const ALLOWED: &str = "a readable file with one token of visible ASCII characters";
        let valid = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        self.secret(file, ALLOWED, str::trim_ascii_end, valid)
    }

    /// The password in a file. Spaces belong to it, line ends after it do not.
    pub(super) fn password(&self, file: &At<FilePath>) -> Valid<Secret> {
        const ALLOWED: &str = "a readable file with one line of text, of up to 65535 bytes";
        /// The longest password that MQTT can carry (5.0 and 3.1.1, section 1.5).
        const MAX_BYTES: usize = u16::MAX as usize;
        let valid = |text: &str| text.len() <= MAX_BYTES && !text.contains(char::is_control);
        self.secret(file, ALLOWED, |text| text.trim_end_matches(['\r', '\n']), valid)
    }

    fn secret(
        &self,
        file: &At<FilePath>,
        allowed: &str,
        trim: impl Fn(&str) -> &str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Valid<Secret> {
        let secret = self.file(file, allowed, |contents| {
            let text =
                str::from_utf8(contents).map_err(|_| "cannot be read: not UTF-8".to_owned())?;
            match trim(text) {
                "" => Err("is empty".to_owned()),
                text if !is_valid(text) => Err("holds something else".to_owned()),
                text => Ok(Secret::new(text)),
            }
        });
        secret.map(|(_, secret)| secret)
    }
}
