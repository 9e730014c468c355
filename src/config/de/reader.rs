//! What the parts of one file share while it is read.

use std::{cell::RefCell, path::Path};

use crate::config::{
    fault::{Fault, Position},
    read_file::ReadFile,
};

/// The file, its environment, and the faults found so far.
pub(in crate::config) struct Reader<'a> {
    file: &'a Path,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    faults: RefCell<Vec<Fault>>,
    read_files: RefCell<Vec<ReadFile>>,
    /// Unknown keys are ignored.
    pub(super) lenient: bool,
}

impl<'a> Reader<'a> {
    pub(in crate::config) fn new(
        file: &'a Path,
        env: &'a dyn Fn(&str) -> Option<String>,
        lenient: bool,
    ) -> Self {
        Self { file, env, faults: RefCell::default(), read_files: RefCell::default(), lenient }
    }

    pub(in crate::config) fn file(&self) -> &'a Path {
        self.file
    }

    pub(in crate::config) fn note(&self, at: Position, path: &str, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault::new(self.file, at, path, message));
    }

    /// Every file that the configuration names is noted here, before it is read.
    pub(in crate::config) fn note_file(&self, file: ReadFile) {
        self.read_files.borrow_mut().push(file);
    }

    /// The files that were noted, except for the first `skipped`.
    pub(in crate::config) fn files_after(&self, skipped: usize) -> Vec<ReadFile> {
        self.read_files.borrow().iter().skip(skipped).cloned().collect()
    }

    pub(in crate::config) fn file_count(&self) -> usize {
        self.read_files.borrow().len()
    }

    pub(in crate::config) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}
