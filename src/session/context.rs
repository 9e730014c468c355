//! What a worker shares with the sessions on it. All of one thread, so nothing here is locked.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
};

use super::{active::Sweep, clients::ClientDirectory, pool_view::PoolView};
use crate::{
    access_log::WorkerLogs,
    config::{Limits, Timeouts},
    labels::EndCause,
    limits::ConnectionLimiter,
    metrics::Metrics,
    net::{Buffer, Pipes, Reactor, Shared as SharedBuffer, TcpOptions},
    session::table::Table,
    upstream::{Pool, WorkerSignal},
};

/// What is read in one call: little enough to be in the processor's first cache still when it is
/// written. What fills it again and again is a bulk stream, and goes by `splice`.
pub(in crate::session) const READ_BYTES: usize = 16 * 1024;

/// Handshake buffers kept for the next connection, and the largest that is worth keeping.
const BUFFERS_KEPT: usize = 256;
const BUFFER_KEPT_BYTES: usize = 4096;

/// What all workers hold in common.
#[derive(Clone)]
pub struct ProcessContext {
    pub limiter: Arc<ConnectionLimiter>,
    pub metrics: Metrics,
    pub clients: Arc<ClientDirectory>,
    /// Rung when this worker has something to [look](super::active::look) at.
    pub signal: Arc<WorkerSignal>,
}

/// What of a configuration concerns the sessions of a worker.
pub struct SessionSettings<'a> {
    pub pools: &'a [Arc<Pool>],
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub log: WorkerLogs,
}

/// One worker's share of the proxy.
pub struct WorkerContext {
    /// Its number among the workers.
    pub(in crate::session) worker: u16,
    pub reactor: Rc<Reactor>,
    /// Those that the configuration has now.
    pub(in crate::session) pools: RefCell<Vec<Rc<PoolView>>>,
    /// Those and the ones that only sessions hold: one for each pool, so that a pool that comes back
    /// is the same to the sessions that stayed.
    views: RefCell<Vec<Weak<PoolView>>>,
    pub(in crate::session) limits: Cell<Limits>,
    pub(in crate::session) timeouts: Cell<Timeouts>,
    pub(in crate::session) limiter: Arc<ConnectionLimiter>,
    pub(in crate::session) clients: Arc<ClientDirectory>,
    pub metrics: Metrics,
    pub log: WorkerLogs,
    pub(in crate::session) sessions: Table,
    /// Set once nobody is to be waited for any more: why.
    pub(in crate::session) ending: Cell<Option<EndCause>>,
    pub(in crate::session) sweep: Cell<Sweep>,
    /// Handshakes and sessions that have not been recorded yet.
    unfinished: Cell<usize>,
    /// Room for what one read brings, until it is written or kept.
    pub(in crate::session) scratch: SharedBuffer<Buffer>,
    pub(in crate::session) pipes: Pipes,
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Room for the key of one choice.
    pub(in crate::session) key: SharedBuffer<Vec<u8>>,
    next_session_id: Cell<u64>,
}

impl WorkerContext {
    /// `first_session_id`: where this worker's session IDs begin, apart from all others'.
    pub fn new(
        worker: u16,
        reactor: Rc<Reactor>,
        shared: &ProcessContext,
        terms: SessionSettings<'_>,
        first_session_id: u64,
    ) -> Rc<Self> {
        let this = Self {
            worker,
            reactor,
            pools: RefCell::default(),
            views: RefCell::default(),
            limits: Cell::new(terms.limits),
            timeouts: Cell::new(terms.timeouts),
            limiter: shared.limiter.clone(),
            clients: shared.clients.clone(),
            metrics: shared.metrics.clone(),
            log: terms.log,
            sessions: Table::default(),
            sweep: Cell::default(),
            ending: Cell::new(None),
            unfinished: Cell::new(0),
            scratch: SharedBuffer::default(),
            pipes: Pipes::default(),
            buffers: RefCell::default(),
            key: SharedBuffer::default(),
            next_session_id: Cell::new(first_session_id),
        };
        this.take_pools(terms.pools);
        Rc::new(this)
    }

    /// Goes by other terms from now on. Sessions stay as they are, and are to be
    /// [counted again](super::active::recount).
    pub fn adopt(&self, terms: SessionSettings<'_>) {
        self.limits.set(terms.limits);
        self.timeouts.set(terms.timeouts);
        self.take_pools(terms.pools);
        self.log.replace(terms.log);
    }

    fn take_pools(&self, pools: &[Arc<Pool>]) {
        let known: Vec<_> = self.views().collect();
        let view = |pool: &Arc<Pool>| {
            let same = known.iter().find(|view| Arc::ptr_eq(&view.pool, pool));
            same.cloned().unwrap_or_else(|| Rc::new(PoolView::new(pool)))
        };
        let now: Vec<_> = pools.iter().map(view).collect();
        let all =
            now.iter().chain(known.iter().filter(|it| !now.iter().any(|n| Rc::ptr_eq(n, it))));
        let all = all.map(Rc::downgrade).collect();
        self.views.replace(all);
        self.pools.replace(now);
    }

    /// This worker's views of all pools that the configuration has or sessions hold.
    pub(in crate::session) fn views(&self) -> impl Iterator<Item = Rc<PoolView>> {
        let views: Vec<_> = self.views.borrow().iter().filter_map(Weak::upgrade).collect();
        views.into_iter()
    }

    /// This worker's view of a pool, which is one of the configuration's.
    pub fn view_of(&self, pool: &Arc<Pool>) -> Option<Rc<PoolView>> {
        self.pools.borrow().iter().find(|view| Arc::ptr_eq(&view.pool, pool)).cloned()
    }

    /// Connections not yet recorded, from accept on.
    pub fn unfinished(&self) -> usize {
        self.unfinished.get()
    }

    pub(in crate::session) fn begin(&self) {
        self.unfinished.set(self.unfinished.get() + 1);
    }

    pub(in crate::session) fn finish(&self) {
        self.unfinished.set(self.unfinished.get() - 1);
    }

    /// Whole seconds of this worker's life, from 1 on, so that 0 can mean "not yet".
    pub(in crate::session) fn seconds(&self) -> u32 {
        self.reactor.seconds() + 1
    }

    pub(in crate::session) fn next_session_id(&self) -> u64 {
        self.next_session_id.replace(self.next_session_id.get().wrapping_add(1))
    }

    pub fn client_tcp_options(&self) -> TcpOptions {
        TcpOptions::towards_clients(&self.timeouts.get())
    }

    /// An empty buffer for a handshake.
    pub(in crate::session) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub(in crate::session) fn give_back_buffer(&self, mut buffer: Vec<u8>) {
        let mut kept = self.buffers.borrow_mut();
        if buffer.capacity() <= BUFFER_KEPT_BYTES && kept.len() < BUFFERS_KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
