//! Socket calls that fail when a test requests it.

use std::{cell::Cell, io, task::Poll};

use rustix::io::Errno;

use crate::net::readiness::SocketToken;

/// The planned fault of one socket of a reactor.
#[derive(Default)]
pub(crate) struct Faults {
    plan: Cell<Option<Plan>>,
}

#[derive(Clone, Copy)]
struct Plan {
    socket: SocketToken,
    /// Calls before the one that fails.
    calls_before: usize,
    errno: Errno,
    has_failed: bool,
}

impl Faults {
    /// Makes a call on this socket fail, and all later ones too unless `errno` means "try again".
    pub(super) fn plan(&self, socket: SocketToken, calls_before: usize, errno: Errno) {
        self.plan.set(Some(Plan { socket, calls_before, errno, has_failed: false }));
    }

    /// Whether the planned failure has happened.
    pub(super) fn has_failed(&self) -> bool {
        self.plan.get().is_some_and(|plan| plan.has_failed)
    }

    /// The error that replaces the result of the next call. Readiness stays unchanged, since the
    /// kernel does not report the same event again.
    pub(in crate::net) fn of_next_call(
        &self,
        socket: SocketToken,
    ) -> Option<Poll<io::Result<usize>>> {
        let mut plan = self.plan.get().filter(|plan| plan.socket == socket)?;
        let is_due = plan.calls_before == 0;
        let fails = is_due && (!plan.has_failed || plan.errno != Errno::AGAIN);
        plan.calls_before = plan.calls_before.saturating_sub(1);
        plan.has_failed |= is_due;
        self.plan.set(Some(plan));
        fails.then(|| match plan.errno {
            Errno::AGAIN => Poll::Pending,
            errno => Poll::Ready(Err(errno.into())),
        })
    }
}
