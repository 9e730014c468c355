//! What a worker shares with its sessions. All of it stays on one thread, so nothing is locked.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
};

use tokio::sync::Notify;

use super::{
    accept_context::AcceptContext,
    clients::ClientDirectory,
    flood_log::FloodLog,
    handover::Departures,
    pool_view::PoolView,
    record::{ListenerRef, Recorder},
    table::SessionTable,
};
use crate::{
    access_log::WorkerLogs,
    config::{Limits, Timeouts},
    labels::EndCause,
    limits::ConnectionLimiter,
    metrics::Metrics,
    net::{Buffer, Pipes, Reactor, SharedBuffer, TcpOptions},
    upstream::{Pool, WorkerSignal},
};

/// The size of one read in bytes: small enough to still be in the processor's first-level cache
/// when it is written. A stream that fills it repeatedly is bulk, and is moved by `splice`.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// The second in which a worker starts, after 34 years: the times of a session that began before, in
/// another process, can be expressed too.
const FIRST_SECOND: u32 = 1 << 30;

/// Handshake buffers kept for the next connections, and the largest that is kept.
const MAX_KEPT_BUFFERS: usize = 256;
const MAX_KEPT_BUFFER_BYTES: usize = 4096;

/// What all workers share.
#[derive(Clone)]
pub struct ProcessContext {
    pub limiter: Arc<ConnectionLimiter>,
    pub metrics: Metrics,
    pub clients: Arc<ClientDirectory>,
    /// Tells this worker to call [`on_worker_signal`](super::on_worker_signal).
    pub signal: Arc<WorkerSignal>,
}

/// The parts of a configuration that concern a worker's sessions.
pub(crate) struct SessionSettings<'a> {
    pub(crate) pools: &'a [Arc<Pool>],
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) log: WorkerLogs,
}

/// One worker's share of the proxy.
pub(crate) struct WorkerContext {
    /// The worker's index.
    pub(crate) worker: u16,
    pub(crate) reactor: Rc<Reactor>,
    /// The pools of the current configuration.
    pools: RefCell<Vec<Rc<PoolView>>>,
    /// The views in `pools` and those that only sessions hold. Each pool has one view, so that
    /// sessions of a removed pool see it when it comes back.
    views: RefCell<Vec<Weak<PoolView>>>,
    /// What the next connections of each listener take.
    listeners: RefCell<Vec<Rc<AcceptContext>>>,
    pub(crate) limits: Cell<Limits>,
    pub(crate) timeouts: Cell<Timeouts>,
    pub(crate) limiter: Arc<ConnectionLimiter>,
    pub(crate) clients: Arc<ClientDirectory>,
    pub(crate) recorder: Rc<Recorder>,
    pub(crate) sessions: SessionTable,
    /// The cause, once all sessions and handshakes have to end.
    pub(crate) ending: Cell<Option<EndCause>>,
    pub(crate) sweep: Cell<SweepState>,
    /// The count of added bans that sweeps have acted on.
    pub(crate) swept_bans: Cell<u64>,
    /// Notified when a sweep acts on added bans: clients that wait for admission may be banned.
    pub(crate) new_bans: Notify,
    pub(crate) flood_log: FloodLog,
    /// The number of connections of ended sessions that are about to be closed.
    pub(super) lingering: Cell<u32>,
    /// Holds the data of one read until it is written or stored.
    pub(crate) scratch: SharedBuffer<Buffer>,
    pub(crate) pipes: Pipes,
    /// Sessions that are being handed over to another process.
    pub(crate) departures: Departures,
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Holds the balancing key of one client at a time.
    pub(crate) key: SharedBuffer<Vec<u8>>,
}

/// Whether a worker's sessions are being swept.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SweepState {
    #[default]
    Idle,
    Running,
    /// Another sweep starts when the running one has finished.
    RunAgain,
}

impl WorkerContext {
    /// `first_session_id` is the start of this worker's own range of session IDs.
    pub(crate) fn new(
        worker: u16,
        reactor: Rc<Reactor>,
        shared: &ProcessContext,
        settings: SessionSettings<'_>,
        first_session_id: u64,
    ) -> Rc<Self> {
        let metrics = shared.metrics.clone();
        let recorder = Recorder::new(reactor.clone(), metrics, settings.log, first_session_id);
        let this = Self {
            worker,
            reactor,
            pools: RefCell::default(),
            views: RefCell::default(),
            listeners: RefCell::default(),
            limits: Cell::new(settings.limits),
            timeouts: Cell::new(settings.timeouts),
            limiter: shared.limiter.clone(),
            clients: shared.clients.clone(),
            recorder: Rc::new(recorder),
            sessions: SessionTable::default(),
            sweep: Cell::default(),
            swept_bans: Cell::new(0),
            new_bans: Notify::new(),
            flood_log: FloodLog::default(),
            lingering: Cell::new(0),
            ending: Cell::new(None),
            scratch: SharedBuffer::default(),
            pipes: Pipes::default(),
            departures: Departures::default(),
            buffers: RefCell::default(),
            key: SharedBuffer::default(),
        };
        this.set_pools(settings.pools);
        Rc::new(this)
    }

    /// Applies other settings. Sessions stay as they are; the caller has them [counted
    /// again](super::recount_clients).
    pub(crate) fn adopt(&self, settings: SessionSettings<'_>) {
        self.limits.set(settings.limits);
        self.timeouts.set(settings.timeouts);
        self.set_pools(settings.pools);
        self.recorder.log.replace(settings.log);
    }

    fn set_pools(&self, pools: &[Arc<Pool>]) {
        let known: Vec<_> = self.views().collect();
        let view_of = |pool: &Arc<Pool>| {
            let same = known.iter().find(|view| Arc::ptr_eq(&view.pool, pool));
            same.cloned().unwrap_or_else(|| Rc::new(PoolView::new(pool)))
        };
        let now: Vec<_> = pools.iter().map(view_of).collect();
        let is_held = |view: &&Rc<PoolView>| !now.iter().any(|other| Rc::ptr_eq(other, view));
        let all = now.iter().chain(known.iter().filter(is_held)).map(Rc::downgrade).collect();
        self.views.replace(all);
        self.pools.replace(now);
    }

    /// This worker's views of all pools that are configured or held by sessions.
    pub(crate) fn views(&self) -> impl Iterator<Item = Rc<PoolView>> {
        let views: Vec<_> = self.views.borrow().iter().filter_map(Weak::upgrade).collect();
        views.into_iter()
    }

    /// This worker's view of a pool of the current configuration.
    pub(crate) fn view_of(&self, pool: &Arc<Pool>) -> Option<Rc<PoolView>> {
        self.pools.borrow().iter().find(|view| Arc::ptr_eq(&view.pool, pool)).cloned()
    }

    /// This worker's view of the pool of the current configuration that has this name.
    pub(crate) fn pool_named(&self, name: &str) -> Option<Rc<PoolView>> {
        self.pools.borrow().iter().find(|view| *view.pool.name == *name).cloned()
    }

    /// What the next connection of the listener with this name takes; if it is missing, of the one
    /// with this address.
    pub(crate) fn listener_named(
        &self,
        name: &str,
        bind: Option<&str>,
    ) -> Option<Rc<AcceptContext>> {
        let listeners = self.listeners.borrow();
        let same_name = listeners.iter().find(|accepted| *accepted.settings.name == *name);
        let has_address = |accepted: &&Rc<AcceptContext>| {
            bind.is_some_and(|bind| accepted.settings.bind.to_string() == bind)
        };
        same_name.or_else(|| listeners.iter().find(has_address)).cloned()
    }

    /// Replaces what the next connections of each listener take.
    pub(crate) fn set_listeners(&self, listeners: Vec<Rc<AcceptContext>>) {
        self.listeners.replace(listeners);
    }

    /// Whether any listener has rules.
    pub(crate) fn has_rules(&self) -> bool {
        self.listeners.borrow().iter().any(|accepted| accepted.settings.rules.is_some())
    }

    /// What the next connection of a session's listener takes; `None` if the listener is gone.
    ///
    /// A listener that a reload renames keeps its sockets and its sessions. One that a reload binds
    /// to another address is followed by its name.
    pub(crate) fn accept_context(&self, of: &ListenerRef) -> Option<Rc<AcceptContext>> {
        let listeners = self.listeners.borrow();
        let same = listeners.iter().find(|accepted| accepted.listener.id == of.id);
        let same_name = || listeners.iter().find(|accepted| accepted.listener.name == of.name);
        same.or_else(same_name).cloned()
    }

    pub(crate) fn log(&self) -> &WorkerLogs {
        &self.recorder.log
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.recorder.metrics
    }

    /// The number of connections that were accepted and whose end has not been recorded yet.
    pub(crate) fn unfinished(&self) -> usize {
        self.recorder.unfinished()
    }

    /// The number of connections of sessions that have ended and are about to be closed.
    pub(crate) fn lingering(&self) -> u32 {
        self.lingering.get()
    }

    /// Whole seconds since the worker started, counted from [`FIRST_SECOND`], so that 0 can mean
    /// "not yet".
    pub(crate) fn seconds(&self) -> u32 {
        self.reactor.seconds() + FIRST_SECOND
    }

    pub(crate) fn client_tcp_options(&self) -> TcpOptions {
        TcpOptions::towards_clients(&self.timeouts.get())
    }

    /// An empty buffer for a handshake.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back_buffer(&self, mut buffer: Vec<u8>) {
        let mut kept = self.buffers.borrow_mut();
        if buffer.capacity() <= MAX_KEPT_BUFFER_BYTES && kept.len() < MAX_KEPT_BUFFERS {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
