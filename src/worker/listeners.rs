//! A worker's listeners, which come, go and lead elsewhere with each reload.

use std::{cell::RefCell, collections::HashMap, io, iter, os::fd::OwnedFd, rc::Rc, sync::Arc};

use tokio::task::{JoinHandle, spawn_local};

use super::accept::accept;
use crate::{
    listener::{Listener, ListenerSettings},
    session::{self, Accepted, ListenerRef, Shard},
    transport::{Acceptor, Peer},
};

/// The most that are taken from a queue at once: more than the kernel holds (`net.core.somaxconn`).
const BACKLOG: usize = 4096;

/// The listeners of a worker that are open, by their [`Listener::id`].
#[derive(Default)]
pub(super) struct WorkerListeners(HashMap<u64, Accepting>);

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

/// A listener on one worker: its socket there, and what those who are accepted next go by.
pub(super) struct WorkerListener {
    pub(super) acceptor: Acceptor,
    next: RefCell<Rc<Accepted>>,
}

impl WorkerListeners {
    /// Opens and closes what has to be, and has all go by their present settings.
    pub(super) fn adopt(
        &mut self,
        shard: &Rc<Shard>,
        listeners: &[Arc<Listener>],
        sockets: Vec<(u64, OwnedFd)>,
    ) {
        let mut sockets: HashMap<_, _> = sockets.into_iter().collect();
        let mut before = std::mem::take(&mut self.0);
        for listener in listeners {
            let settings = listener.settings();
            let known = before.remove(&listener.id);
            let used = known.as_ref().map(|known| known.listener.next.borrow().listener.clone());
            let Some(used) = listener_ref(shard, &settings, used) else { continue };
            let next = Rc::new(Accepted { listener: used, settings });
            let open = match (known, sockets.remove(&listener.id)) {
                (Some(open), _) => {
                    open.listener.next.replace(next);
                    open.listener.acceptor.set_options(shard.tcp_options());
                    open
                }
                (None, Some(socket)) => match open(shard, next, socket) {
                    Ok(open) => open,
                    Err(error) => {
                        let name = &listener.settings().name;
                        tracing::error!(listener = %name, %error, "cannot accept there");
                        continue;
                    }
                },
                (None, None) => continue,
            };
            self.0.insert(listener.id, open);
        }
        for closed in before.into_values() {
            closed.listener.empty(shard);
        }
    }
}

impl WorkerListener {
    pub(super) fn name(&self) -> Arc<str> {
        self.next.borrow().listener.name.clone()
    }

    pub(super) fn serve(&self, shard: &Rc<Shard>, fd: OwnedFd, peer: Peer) {
        let accepted = self.next.borrow().clone();
        spawn_local(session::serve(shard.clone(), accepted, fd, peer));
    }

    /// Takes those who wait in the kernel's queue, which closing the socket would reset.
    fn empty(&self, shard: &Rc<Shard>) {
        for (fd, peer) in iter::from_fn(|| self.acceptor.try_accept().ok()).take(BACKLOG) {
            self.serve(shard, fd, peer);
        }
    }
}

fn open(shard: &Rc<Shard>, next: Rc<Accepted>, socket: OwnedFd) -> io::Result<Accepting> {
    let acceptor = Acceptor::new(&shard.reactor, socket)?;
    let listener = Rc::new(WorkerListener { acceptor, next: RefCell::new(next) });
    let task = spawn_local(accept(shard.clone(), listener.clone()));
    Ok(Accepting { listener, task })
}

/// `used` serves on where nothing has changed, as sessions hold on to it.
fn listener_ref(
    shard: &Shard,
    settings: &ListenerSettings,
    used: Option<Rc<ListenerRef>>,
) -> Option<Rc<ListenerRef>> {
    let pool = shard.view_of(&settings.pool)?;
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
