//! A file that lines are appended to, with rotation by size and age.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::{
    access_log::lines::{first_line_len, whole_lines_len},
    config::Rotate,
};

/// The path of standard output.
pub(super) const STDOUT_PATH: &str = "/dev/stdout";

/// What a pipe takes in one piece (PIPE_BUF, pipe(7)). During an upgrade two processes write to it:
/// a longer write could end up in the middle of the other one's line.
const PIPE_BYTES: usize = 4096;

/// Pause before a failed rotation is tried again.
const ROTATION_RETRY_DELAY: Duration = Duration::from_secs(10);

/// An open log file.
///
/// The crate file-rotate is not used: it splits lines, panics when another process has moved a
/// file, and counts lines as written while its file cannot be opened.
pub(in crate::access_log) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    len: u64,
    created: SystemTime,
    is_regular: bool,
    is_pipe: bool,
    /// When a failed rotation may be tried again.
    rotate_not_before: Option<Instant>,
}

impl LogFile {
    pub(in crate::access_log) fn open(path: &Path) -> io::Result<Self> {
        Self::from_open(path, open(path)?)
    }

    /// Takes a file that is already open.
    pub(in crate::access_log) fn from_open(path: &Path, file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len: metadata.len(),
            // On a file system without creation times, the age counts from the opening.
            created: metadata.created().unwrap_or_else(|_| SystemTime::now()),
            is_regular: metadata.is_file(),
            is_pipe: metadata.file_type().is_fifo(),
            rotate_not_before: None,
        })
    }

    /// A pipe that is written as a regular file is, to stand for a disk.
    #[cfg(test)]
    pub(in crate::access_log) fn into_regular(self) -> Self {
        Self { is_pipe: false, ..self }
    }

    /// Opens the path again; on an error the old file stays in use.
    pub(in crate::access_log) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Writes from the start of `lines`, of which `partial` bytes are already in the file. Returns
    /// the length in bytes of the lines that are now completely written.
    pub(in crate::access_log) fn write(
        &mut self,
        lines: &[u8],
        partial: &mut usize,
        rotate: Option<Rotate>,
    ) -> io::Result<usize> {
        let mut end = lines.len();
        if let Some(rotate) = rotate.filter(|_| self.is_regular && *partial == 0) {
            if self.len > 0 && self.must_rotate(lines, rotate) {
                self.try_rotate(rotate.keep);
            }
            end = self.fitting_len(lines, rotate);
        }
        if self.is_pipe && *partial == 0 {
            end = fitting_len(lines, PIPE_BYTES);
        }
        let rest = lines.get(*partial..end).unwrap_or_default();
        let count = self.file.write(rest)?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        self.len += count as u64;
        let written = *partial + count;
        let whole = whole_lines_len(&lines[..written]);
        *partial = written - whole;
        Ok(whole)
    }

    fn must_rotate(&self, lines: &[u8], rotate: Rotate) -> bool {
        let is_full = |size| self.len + first_line_len(lines) as u64 > size;
        let is_old = |age| self.created.elapsed().is_ok_and(|elapsed| elapsed >= age);
        (rotate.size.is_some_and(is_full) || rotate.age.is_some_and(is_old))
            && self.rotate_not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// As [`fitting_len`], of this file.
    fn fitting_len(&self, lines: &[u8], rotate: Rotate) -> usize {
        let Some(size) = rotate.size else { return lines.len() };
        let room = usize::try_from(size.saturating_sub(self.len)).unwrap_or(usize::MAX);
        fitting_len(lines, room)
    }

    fn try_rotate(&mut self, keep: u32) {
        match self.rotate(keep) {
            Ok(()) => {
                if self.rotate_not_before.take().is_some() {
                    tracing::info!(log = %self.path.display(), "access log can be rotated again");
                }
            }
            Err(error) => {
                if self.rotate_not_before.replace(Instant::now() + ROTATION_RETRY_DELAY).is_none() {
                    tracing::error!(
                        log = %self.path.display(), %error,
                        "access log cannot be rotated; it keeps growing"
                    );
                }
            }
        }
    }

    /// The file becomes `.1`, `.1` becomes `.2`, and so on. The new file is opened before anything
    /// is renamed, so that a failure to open it changes nothing.
    fn rotate(&mut self, keep: u32) -> io::Result<()> {
        let new = self.with_suffix("new");
        // Left over from an earlier failure.
        ignore_missing(fs::remove_file(&new))?;
        let file = Self::from_open(&self.path, open(&new)?)?;
        for number in (1..keep).rev() {
            ignore_missing(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        ignore_missing(fs::rename(&self.path, self.numbered(1)))?;
        fs::rename(&new, &self.path)?;
        // Left over from a configuration that kept more files.
        let mut surplus = keep + 1;
        while fs::remove_file(self.numbered(surplus)).is_ok() {
            surplus += 1;
        }
        let rotate_not_before = self.rotate_not_before;
        *self = Self { rotate_not_before, ..file };
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.with_suffix(&number.to_string())
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".");
        name.push(suffix);
        name.into()
    }
}

/// The length in bytes of the lines that fit into `room`, at least that of one line.
fn fitting_len(lines: &[u8], room: usize) -> usize {
    match lines.get(..room) {
        Some(fitting) => whole_lines_len(fitting).max(first_line_len(lines)),
        None => lines.len(),
    }
}

/// Treats a missing file as success: another process may have moved or removed it.
fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Opens for appending. A named pipe without a reader is an error instead of an endless wait.
fn open(path: &Path) -> io::Result<File> {
    // Under a service manager standard output may be a socket, which cannot be opened by path.
    if path == Path::new(STDOUT_PATH) {
        return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
    }
    if path == Path::new("/dev/stderr") {
        return Ok(io::stderr().as_fd().try_clone_to_owned()?.into());
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // Client IDs and usernames must not be readable by everyone.
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}
