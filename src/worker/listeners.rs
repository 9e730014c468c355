//! A worker's listeners, which come, go and lead elsewhere with each reload.

use std::{cell::RefCell, collections::HashMap, io, os::fd::OwnedFd, rc::Rc, sync::Arc};

use tokio::task::{JoinHandle, spawn_local};

use super::{
    Adopting,
    accept::{accept, close},
};
use crate::{
    listener::{Listener, ListenerSettings},
    net::{Acceptor, Peer},
    session::{self, AcceptContext, ListenerRef, WorkerContext},
};

/// The listeners of a worker.
#[derive(Default)]
pub(super) struct WorkerListeners {
    /// Those that are open, by their [`Listener::id`].
    open: HashMap<u64, Accepting>,
    /// Those where the last clients are being accepted.
    closing: Vec<JoinHandle<()>>,
}

/// One of them, with the task that accepts.
struct Accepting {
    listener: Rc<WorkerListener>,
    task: JoinHandle<()>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener on one worker: its socket there, and the settings for the next connections.
pub(super) struct WorkerListener {
    pub(super) acceptor: Acceptor,
    next: RefCell<Rc<AcceptContext>>,
}

impl WorkerListeners {
    /// Opens and closes listeners as needed, and applies the present settings to all. `adopting` is held
    /// until what has to be closed is.
    pub(super) fn adopt(
        &mut self,
        context: &Rc<WorkerContext>,
        listeners: &[Arc<Listener>],
        sockets: Vec<(u64, OwnedFd)>,
        adopting: &Adopting,
    ) {
        let mut sockets: HashMap<_, _> = sockets.into_iter().collect();
        let mut before = std::mem::take(&mut self.open);
        for listener in listeners {
            let settings = listener.settings();
            let known = before.remove(&listener.id);
            let used = known.as_ref().map(|known| known.listener.next.borrow().listener.clone());
            let Some(used) = listener_ref(context, &settings, used) else { continue };
            let next = Rc::new(AcceptContext { listener: used, settings });
            let open = match (known, sockets.remove(&listener.id)) {
                (Some(open), _) => {
                    open.listener.next.replace(next);
                    open.listener.acceptor.set_options(context.client_tcp_options());
                    open
                }
                (None, Some(socket)) => match open(context, next, socket) {
                    Ok(open) => open,
                    Err(error) => {
                        let name = &listener.settings().name;
                        tracing::error!(listener = %name, %error, "cannot accept there");
                        continue;
                    }
                },
                (None, None) => continue,
            };
            self.open.insert(listener.id, open);
        }
        self.closing.retain(|closing| !closing.is_finished());
        for closed in before.into_values() {
            self.close_one(context, &closed, Some(adopting.clone()));
        }
    }

    /// Closes all of them, each when those who wait there have been accepted.
    pub(super) fn close(&mut self, context: &Rc<WorkerContext>) {
        for closed in std::mem::take(&mut self.open).into_values() {
            self.close_one(context, &closed, None);
        }
    }

    /// Whether nobody will be accepted any more.
    pub(super) fn are_closed(&self) -> bool {
        self.open.is_empty() && self.closing.iter().all(JoinHandle::is_finished)
    }

    fn close_one(
        &mut self,
        context: &Rc<WorkerContext>,
        closed: &Accepting,
        adopting: Option<Adopting>,
    ) {
        let close = close(context.clone(), closed.listener.clone());
        self.closing.push(spawn_local(async move {
            close.await;
            drop(adopting);
        }));
    }
}

impl WorkerListener {
    pub(super) fn name(&self) -> Arc<str> {
        self.next.borrow().listener.name.clone()
    }

    pub(super) fn serve(&self, context: &Rc<WorkerContext>, fd: OwnedFd, peer: Peer) {
        let accepted = self.next.borrow().clone();
        spawn_local(session::serve(context.clone(), accepted, fd, peer));
    }
}

fn open(
    context: &Rc<WorkerContext>,
    next: Rc<AcceptContext>,
    socket: OwnedFd,
) -> io::Result<Accepting> {
    let acceptor = Acceptor::new(&context.reactor, socket)?;
    let listener = Rc::new(WorkerListener { acceptor, next: RefCell::new(next) });
    let task = spawn_local(accept(context.clone(), listener.clone()));
    Ok(Accepting { listener, task })
}

/// `used` serves on where nothing has changed, as sessions hold on to it.
fn listener_ref(
    context: &WorkerContext,
    settings: &ListenerSettings,
    used: Option<Rc<ListenerRef>>,
) -> Option<Rc<ListenerRef>> {
    let pool = context.view_of(&settings.pool)?;
    let is_same = |used: &Rc<ListenerRef>| {
        used.name == settings.name
            && used.transport == settings.transport
            && Rc::ptr_eq(&used.pool, &pool)
    };
    let fresh = || {
        Rc::new(ListenerRef {
            name: settings.name.clone(),
            transport: settings.transport,
            pool: pool.clone(),
            metrics: settings.metrics.clone(),
        })
    };
    Some(used.filter(is_same).unwrap_or_else(fresh))
}
