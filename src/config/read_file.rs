//! The files that a configuration was read from, and whether they have changed since.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A file that the configuration names, such as a certificate, a key or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadFile {
    pub(crate) path: PathBuf,
    /// From before it was read: a change during the read makes another state.
    pub(crate) state: FileState,
}

impl ReadFile {
    /// Call this before the file is read.
    pub(super) fn before_reading(path: &Path) -> Self {
        Self { path: path.to_owned(), state: FileState::of(path) }
    }
}

/// What the file system says about a file, at the end of all symbolic links. Another content comes
/// with another state, unless it has the same size, is written into the same file, and within the
/// resolution of the file system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    File {
        device: u64,
        /// Another one after `mv`, and after a swapped link.
        inode: u64,
        bytes: u64,
        /// Seconds and nanoseconds.
        modified: (i64, i64),
        /// Also after chmod, which may make a file readable.
        changed: (i64, i64),
    },
    /// The file does not exist, or its folder cannot be searched.
    Absent(io::ErrorKind),
}

impl FileState {
    pub(crate) fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) => Self::File {
                device: file.dev(),
                inode: file.ino(),
                bytes: file.len(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
            },
            Err(error) => Self::Absent(error.kind()),
        }
    }
}
