//! Calls of a socket that fail when a test wants it.

use std::{cell::Cell, io, task::Poll};

use rustix::io::Errno;

use crate::net::readiness::SocketToken;

/// What is to happen to one socket of a reactor.
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
    /// Has a call of this socket fail, and all further ones too unless it was told to try again.
    pub(super) fn plan(&self, socket: SocketToken, calls_before: usize, errno: Errno) {
        self.plan.set(Some(Plan { socket, calls_before, errno, has_failed: false }));
    }

    /// Whether the call that was to fail has come.
    pub(super) fn has_failed(&self) -> bool {
        self.plan.get().is_some_and(|plan| plan.has_failed)
    }

    /// What the next call comes to instead of what the kernel would say. Readiness stays as it is,
    /// since the kernel will not report again what it has reported.
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
