//! A listener on one worker.

use std::{cell::RefCell, os::fd::OwnedFd, rc::Rc, sync::Arc};

use tokio::task::spawn_local;

use crate::{
    net::{Acceptor, PeerAddress},
    session::{self, AcceptContext, WorkerContext},
};

/// A listener on one worker: its socket there, and the settings for new connections.
pub(super) struct WorkerListener {
    pub(super) acceptor: Acceptor,
    /// What the next connections take at accept.
    pub(super) next: RefCell<Rc<AcceptContext>>,
}

impl WorkerListener {
    pub(super) fn name(&self) -> Arc<str> {
        self.next.borrow().listener.name.clone()
    }

    /// Starts the task of an accepted connection, or closes it; false if it was closed.
    pub(super) fn serve(
        &self,
        context: &Rc<WorkerContext>,
        fd: OwnedFd,
        peer: PeerAddress,
    ) -> bool {
        let accepted = self.next.borrow().clone();
        let Some(fd) = session::admit_at_accept(context, &accepted, fd, peer) else { return false };
        spawn_local(session::serve(context.clone(), accepted, fd, peer));
        true
    }
}

/// Pauses a listener until dropped: a listener whose queue is not accepted would wake its worker
/// again and again.
pub(super) struct PausedListener<'a>(&'a WorkerListener);

impl<'a> PausedListener<'a> {
    pub(super) fn new(listener: &'a WorkerListener) -> Self {
        // If the kernel refuses, the worker is merely busy for a while.
        let _ = listener.acceptor.pause(true);
        Self(listener)
    }
}

impl Drop for PausedListener<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.acceptor.pause(false) {
            tracing::error!(listener = %self.0.name(), %error, "cannot resume accepting");
        }
    }
}
