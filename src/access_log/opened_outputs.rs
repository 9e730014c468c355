//! The outputs of new logs, opened before a configuration is applied.

use std::io;

use super::{format::TemplateError, output::LogOutput};
use crate::config::LogTarget;

/// Why an access log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "access log {to}: {error}; the directory must exist, and the user that runs mqtt-lb must \
         be able to write the file (a named pipe needs a reader first)"
    )]
    File { to: LogTarget, error: io::Error },
    #[error("access log {to}: invalid format: {error}")]
    Format { to: LogTarget, error: TemplateError },
    #[error("access log {to}: cannot start its writer thread: {error}")]
    Thread { to: LogTarget, error: io::Error },
}

/// The opened outputs, for writers that have not been started yet.
#[derive(Default)]
pub(crate) struct OpenedOutputs(Vec<(LogTarget, LogOutput)>);

impl OpenedOutputs {
    /// Opens the outputs. A slow disk blocks this call, so call it on a thread that may block.
    pub(crate) fn open(targets: Vec<LogTarget>) -> Result<Self, OpenError> {
        let open = |to: LogTarget| match LogOutput::open(&to) {
            Ok(output) => Ok((to, output)),
            Err(error) => Err(OpenError::File { to, error }),
        };
        targets.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Takes the output of this target.
    pub(super) fn take(&mut self, to: &LogTarget) -> Result<LogOutput, OpenError> {
        match self.0.iter().position(|(known, _)| known == to) {
            Some(at) => Ok(self.0.swap_remove(at).1),
            None => Err(OpenError::File { to: to.clone(), error: io::ErrorKind::NotFound.into() }),
        }
    }
}
