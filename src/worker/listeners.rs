//! The listeners of a worker, which each reload may open, close and configure.

use std::{cell::RefCell, collections::HashMap, io, os::fd::OwnedFd, rc::Rc, sync::Arc};

use tokio::task::{JoinHandle, spawn_local};

use super::{
    accept::{accept, close},
    command::{ListeningSockets, PendingUpdate},
    listener::WorkerListener,
};
use crate::{
    listener::{Listener, ListenerRules, ListenerSettings},
    net::Acceptor,
    session::{AcceptContext, ListenerRef, WorkerContext},
    upstream::Pool,
};

/// The listeners of a worker.
pub(super) struct WorkerListeners {
    /// The sockets of the open listeners, by their [`Listener::id`].
    open: HashMap<u64, Vec<OpenListener>>,
    /// Whether another process may accept from the same queues, and this one does not.
    is_stopped: bool,
    /// Tasks of closed listeners that accept the rest of their queues.
    closing: Vec<JoinHandle<()>>,
}

/// A socket of an open listener, and its accept task.
struct OpenListener {
    listener: Rc<WorkerListener>,
    task: JoinHandle<()>,
}

impl Drop for OpenListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WorkerListeners {
    pub(super) fn new(accepts: bool) -> Self {
        Self { open: HashMap::new(), is_stopped: !accepts, closing: Vec::new() }
    }

    /// Opens and closes listeners as needed, and applies the current settings to all. `pending` is
    /// held until the queues of the closed listeners have been accepted.
    pub(super) fn adopt(
        &mut self,
        context: &Rc<WorkerContext>,
        listeners: &[Arc<Listener>],
        sockets: Vec<(u64, OwnedFd)>,
        pending: &PendingUpdate,
    ) {
        let mut new = HashMap::<u64, Vec<OwnedFd>>::new();
        for (id, socket) in sockets {
            new.entry(id).or_default().push(socket);
        }
        let mut before = std::mem::take(&mut self.open);
        let mut accepting = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let settings = listener.settings();
            let known = before.remove(&listener.id);
            let used = known.as_ref().and_then(|known| known.first());
            let used = used.map(|open| open.listener.next.borrow().clone());
            let Some(next) = accept_context(context, listener.id, settings, used.as_deref()) else {
                continue;
            };
            let next = Rc::new(next);
            accepting.push(next.clone());
            let open = if let Some(known) = known {
                for OpenListener { listener, .. } in &known {
                    listener.next.replace(next.clone());
                    listener.acceptor.set_options(context.client_tcp_options());
                }
                known
            } else {
                let sockets = new.remove(&listener.id).unwrap_or_default().into_iter();
                let open = sockets.map(|socket| open(context, &next, socket, self.is_stopped));
                open.collect::<io::Result<Vec<_>>>().unwrap_or_else(|error| {
                    let name = &listener.settings().name;
                    tracing::error!(listener = %name, %error, "cannot accept on this listener");
                    Vec::new()
                })
            };
            self.open.insert(listener.id, open);
        }
        context.set_listeners(accepting);
        self.closing.retain(|closing| !closing.is_finished());
        for closed in before.into_values().flatten() {
            self.close_one(context, &closed, Some(pending.clone()));
        }
    }

    /// Duplicates the sockets.
    pub(super) fn share(&self) -> io::Result<ListeningSockets> {
        let sockets = self.open.iter().flat_map(|(id, open)| open.iter().map(|open| (*id, open)));
        let share =
            |(id, open): (u64, &OpenListener)| Ok((id, open.listener.acceptor.try_clone()?));
        sockets.map(share).collect()
    }

    /// Starts or stops accepting.
    pub(super) fn accept(&mut self, accept: bool) {
        self.is_stopped = !accept;
        for OpenListener { listener, .. } in self.open.values().flatten() {
            if let Err(error) = listener.acceptor.stop(!accept) {
                let name = listener.name();
                tracing::error!(listener = %name, %error, "cannot start or stop accepting");
            }
        }
    }

    /// Closes the sockets at once: another process accepts the connections in their queues.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// Closes all listeners, each once its queue has been accepted.
    pub(super) fn close(&mut self, context: &Rc<WorkerContext>) {
        for closed in std::mem::take(&mut self.open).into_values().flatten() {
            self.close_one(context, &closed, None);
        }
    }

    /// Whether all listeners are closed and their queues have been accepted.
    pub(super) fn are_closed(&self) -> bool {
        self.open.is_empty() && self.closing.iter().all(JoinHandle::is_finished)
    }

    fn close_one(
        &mut self,
        context: &Rc<WorkerContext>,
        closed: &OpenListener,
        pending: Option<PendingUpdate>,
    ) {
        let close = close(context.clone(), closed.listener.clone());
        self.closing.push(spawn_local(async move {
            close.await;
            drop(pending);
        }));
    }
}

fn open(
    context: &Rc<WorkerContext>,
    next: &Rc<AcceptContext>,
    socket: OwnedFd,
    is_stopped: bool,
) -> io::Result<OpenListener> {
    let acceptor = Acceptor::new(&context.reactor, socket, is_stopped)?;
    let listener = Rc::new(WorkerListener { acceptor, next: RefCell::new(next.clone()) });
    let task = spawn_local(accept(context.clone(), listener.clone()));
    Ok(OpenListener { listener, task })
}

/// What connections take from now on. Sessions share what has not changed from `used`.
fn accept_context(
    context: &WorkerContext,
    listener_id: u64,
    settings: Arc<ListenerSettings>,
    used: Option<&AcceptContext>,
) -> Option<AcceptContext> {
    let used: Vec<_> = used
        .map_or_else(Vec::new, |used| used.rules.iter().chain([&used.listener]).cloned().collect());
    let listener_ref = |pool: &Arc<Pool>, rule: Option<&Arc<str>>| {
        let pool = context.view_of(pool)?;
        let is_same = |used: &&Rc<ListenerRef>| {
            used.name == settings.name
                && used.transport == settings.transport
                && used.rule.as_ref() == rule
                && Rc::ptr_eq(&used.pool, &pool)
        };
        let fresh = || {
            Rc::new(ListenerRef {
                id: listener_id,
                name: settings.name.clone(),
                transport: settings.transport,
                pool: pool.clone(),
                rule: rule.cloned(),
                metrics: settings.metrics.clone(),
            })
        };
        Some(used.iter().find(is_same).cloned().unwrap_or_else(fresh))
    };
    let listener = listener_ref(&settings.pool, None)?;
    let rules = settings.rules.iter().flat_map(ListenerRules::iter);
    let rules = rules.map(|running| {
        // A refused client counts towards the listener's own pool.
        let pool = running.pool.as_ref().unwrap_or(&settings.pool);
        listener_ref(pool, Some(&running.rule.name))
    });
    let rules = rules.collect::<Option<_>>()?;
    Some(AcceptContext { listener, rules, settings })
}
