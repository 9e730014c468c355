//! A file that lines are appended to, put aside when it is too large or too old.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::output::lines_end;
use crate::config::Rotate;

/// The path of the standard output.
pub(super) const STDOUT: &str = "/dev/stdout";

/// How soon a rotation that failed is tried again.
const ROTATE_AGAIN: Duration = Duration::from_secs(10);

/// An open log file.
///
/// The rotation is our own: of the crates there are, file-rotate cuts lines in two, panics when
/// somebody else has moved a file, and takes lines for written while its file cannot be opened.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    len: u64,
    born: SystemTime,
    is_regular: bool,
    /// Set by a rotation that failed.
    not_before: Option<Instant>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(path, open(path)?)
    }

    /// A file that is open already.
    pub(super) fn of(path: &Path, file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len: metadata.len(),
            // Where the file system does not know: it is as old as we have had it.
            born: metadata.created().unwrap_or_else(|_| SystemTime::now()),
            is_regular: metadata.is_file(),
            not_before: None,
        })
    }

    /// Opens the path anew; on an error the old file stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Writes the first of `lines`, of which `begun` bytes are in the file; returns the bytes of
    /// those that are now there as a whole.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        begun: &mut usize,
        rotate: Option<Rotate>,
    ) -> io::Result<usize> {
        let mut end = lines.len();
        if let Some(rotate) = rotate.filter(|_| self.is_regular && *begun == 0) {
            if self.len > 0 && self.is_due(lines, rotate) {
                self.try_rotate(rotate.keep);
            }
            end = self.fitting(lines, rotate);
        }
        let rest = lines.get(*begun..end).unwrap_or_default();
        let count = self.file.write(rest)?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        self.len += count as u64;
        let written = *begun + count;
        let whole = lines_end(&lines[..written]);
        *begun = written - whole;
        Ok(whole)
    }

    fn is_due(&self, lines: &[u8], rotate: Rotate) -> bool {
        let is_full = |size| self.len + first_line(lines) as u64 > size;
        let is_old = |age| self.born.elapsed().is_ok_and(|elapsed| elapsed >= age);
        (rotate.size.is_some_and(is_full) || rotate.age.is_some_and(is_old))
            && self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Where the lines end that this file has room for; one at least.
    fn fitting(&self, lines: &[u8], rotate: Rotate) -> usize {
        let Some(size) = rotate.size else { return lines.len() };
        let room = usize::try_from(size.saturating_sub(self.len)).unwrap_or(usize::MAX);
        match lines.get(..room) {
            Some(fitting) => lines_end(fitting).max(first_line(lines)),
            None => lines.len(),
        }
    }

    fn try_rotate(&mut self, keep: u32) {
        match self.rotate(keep) {
            Ok(()) => {
                if self.not_before.take().is_some() {
                    tracing::info!(log = %self.path.display(), "access log can be rotated again");
                }
            }
            Err(error) => {
                if self.not_before.replace(Instant::now() + ROTATE_AGAIN).is_none() {
                    tracing::error!(
                        log = %self.path.display(), %error,
                        "access log cannot be rotated: it grows until it can"
                    );
                }
            }
        }
    }

    /// The file becomes `.1`, `.1` becomes `.2`, and so on; the new one is opened before anything is
    /// moved, so that what fails leaves everything as it was.
    fn rotate(&mut self, keep: u32) -> io::Result<()> {
        let new = self.beside("new");
        // One that an earlier failure left behind.
        ignore_missing(fs::remove_file(&new))?;
        let file = Self::of(&self.path, open(&new)?)?;
        for number in (1..keep).rev() {
            ignore_missing(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        ignore_missing(fs::rename(&self.path, self.numbered(1)))?;
        fs::rename(&new, &self.path)?;
        // Those of a configuration that kept more.
        let mut beyond = keep + 1;
        while fs::remove_file(self.numbered(beyond)).is_ok() {
            beyond += 1;
        }
        let not_before = self.not_before;
        *self = Self { not_before, ..file };
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.beside(&number.to_string())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".");
        name.push(suffix);
        name.into()
    }
}

/// Somebody else may have moved or removed a file.
fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Bytes of the first line, its end included.
fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), |end| end + 1)
}

/// Opens for appending. Without a reader, a named pipe is an error rather than a wait without end.
fn open(path: &Path) -> io::Result<File> {
    // Under a service manager these may be sockets, which cannot be opened by their path.
    if path == Path::new(STDOUT) {
        return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
    }
    if path == Path::new("/dev/stderr") {
        return Ok(io::stderr().as_fd().try_clone_to_owned()?.into());
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // Client IDs and usernames are not for everyone's eyes.
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}
