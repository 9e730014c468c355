//! How strictly a CONNECT is read.

use super::malformed::Malformed;

/// What happens to a CONNECT that does not conform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It is refused.
    Strict,
    /// It is accepted as long as its length, its version and its client ID can be found, so that
    /// its broker decides about it.
    Lenient,
}

/// What a reader tolerates, and whether it has met any of it.
pub(super) struct Tolerance {
    strictness: Strictness,
    is_unused: bool,
}

impl Tolerance {
    pub(super) const fn new(strictness: Strictness) -> Self {
        Self { strictness, is_unused: true }
    }

    pub(super) const fn is_unused(&self) -> bool {
        self.is_unused
    }

    /// Notes a violation after which the packet can be read on.
    ///
    /// # Errors
    /// That violation, to a strict reader.
    pub(super) fn note(&mut self, fault: Malformed) -> Result<(), Malformed> {
        match self.strictness {
            Strictness::Strict => Err(fault),
            Strictness::Lenient => {
                self.is_unused = false;
                Ok(())
            }
        }
    }
}
