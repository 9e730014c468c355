//! What a worker shares with the sessions on it. All of one thread, so nothing here is locked.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use slab::Slab;

use super::{gate::Gate, live::Live, owners::Owners, view::PoolView};
use crate::{
    config::{Limits, Timeouts},
    observe::{EndCause, LogWriter, Metrics},
    transport::{BULK_BYTES, Pipes, Reactor, TcpOptions},
    upstream::{Bell, Pool},
};

/// What is read in one call: little enough to be in the processor's first cache still when it is
/// written. What fills it again and again is a bulk stream, and goes by `splice`.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// Handshake buffers kept for the next connection, and the largest that is worth keeping.
const BUFFERS_KEPT: usize = 256;
const BUFFER_KEPT_BYTES: usize = 4096;

/// What all workers hold in common.
#[derive(Clone)]
pub struct Shared {
    pub gate: Arc<Gate>,
    pub metrics: Metrics,
    pub owners: Arc<Owners>,
    /// Rung when this worker has something to [look](super::look) at.
    pub bell: Arc<Bell>,
}

/// What of a configuration concerns the sessions of a worker.
pub struct Terms<'a> {
    pub pools: &'a [Arc<Pool>],
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub log: LogWriter,
}

/// One worker's share of the proxy.
pub struct Shard {
    /// Its number among the workers.
    pub(super) worker: u16,
    pub reactor: Rc<Reactor>,
    /// Those that the configuration has now. Sessions keep their own.
    pub(super) pools: RefCell<Vec<Rc<PoolView>>>,
    pub(super) limits: Cell<Limits>,
    pub(super) timeouts: Cell<Timeouts>,
    pub(super) gate: Arc<Gate>,
    pub(super) owners: Arc<Owners>,
    pub metrics: Metrics,
    pub log: LogWriter,
    pub(super) sessions: RefCell<Slab<Rc<Live>>>,
    /// Set once nobody is to be waited for any more: why.
    pub(super) ending: Cell<Option<EndCause>>,
    /// Whether sessions of removed brokers are being ended.
    pub(super) parting: Cell<bool>,
    /// Handshakes and sessions that have not been recorded yet.
    unfinished: Cell<usize>,
    pub(super) scratch: RefCell<Box<[u8]>>,
    pub(super) pipes: Pipes,
    buffers: RefCell<Vec<Vec<u8>>>,
    pub(super) key: RefCell<Vec<u8>>,
    next_session_id: Cell<u64>,
}

impl Shard {
    /// `first_session_id`: where this worker's session IDs begin, apart from all others'.
    pub fn new(
        worker: u16,
        reactor: Rc<Reactor>,
        shared: &Shared,
        terms: Terms<'_>,
        first_session_id: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            reactor,
            pools: RefCell::new(terms.pools.iter().map(PoolView::new).map(Rc::new).collect()),
            limits: Cell::new(terms.limits),
            timeouts: Cell::new(terms.timeouts),
            gate: shared.gate.clone(),
            owners: shared.owners.clone(),
            metrics: shared.metrics.clone(),
            log: terms.log,
            sessions: RefCell::default(),
            ending: Cell::new(None),
            parting: Cell::new(false),
            unfinished: Cell::new(0),
            scratch: RefCell::new(vec![0; BULK_BYTES].into_boxed_slice()),
            pipes: Pipes::default(),
            buffers: RefCell::default(),
            key: RefCell::default(),
            next_session_id: Cell::new(first_session_id),
        })
    }

    /// Goes by other terms from now on. Sessions stay as they are.
    pub fn adopt(&self, terms: Terms<'_>) {
        self.limits.set(terms.limits);
        self.timeouts.set(terms.timeouts);
        let views = {
            let known = self.pools.borrow();
            let view = |pool: &Arc<Pool>| match known.iter().find(|it| Arc::ptr_eq(&it.pool, pool))
            {
                Some(view) => view.clone(),
                None => Rc::new(PoolView::new(pool)),
            };
            terms.pools.iter().map(view).collect()
        };
        self.pools.replace(views);
        for (_, live) in &*self.sessions.borrow() {
            live.recount();
        }
        self.log.replace(terms.log);
    }

    /// This worker's view of a pool, which is one of the configuration's.
    pub fn view_of(&self, pool: &Arc<Pool>) -> Option<Rc<PoolView>> {
        self.pools.borrow().iter().find(|view| Arc::ptr_eq(&view.pool, pool)).cloned()
    }

    /// Runs `write`, which writes an access log entry, when the log has room for it.
    pub(super) fn record(self: &Rc<Self>, write: impl FnOnce() + 'static) {
        if self.log.has_room() {
            write();
            self.finish();
            return;
        }
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            shard.log.room().await;
            write();
            shard.finish();
        });
    }

    /// Connections not yet recorded, from accept on.
    pub fn unfinished(&self) -> usize {
        self.unfinished.get()
    }

    pub(super) fn begin(&self) {
        self.unfinished.set(self.unfinished.get() + 1);
    }

    pub(super) fn finish(&self) {
        self.unfinished.set(self.unfinished.get() - 1);
    }

    /// Whole seconds of this worker's life, from 1 on, so that 0 can mean "not yet".
    pub(super) fn seconds(&self) -> u32 {
        self.reactor.seconds() + 1
    }

    pub(super) fn next_session_id(&self) -> u64 {
        self.next_session_id.replace(self.next_session_id.get().wrapping_add(1))
    }

    pub fn tcp_options(&self) -> TcpOptions {
        TcpOptions {
            keepalive: self.timeouts.get().tcp_keepalive,
            user_timeout: self.timeouts.get().tcp_user_timeout,
        }
    }

    /// An empty buffer for a handshake.
    pub(super) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_back_buffer(&self, mut buffer: Vec<u8>) {
        let mut kept = self.buffers.borrow_mut();
        if buffer.capacity() <= BUFFER_KEPT_BYTES && kept.len() < BUFFERS_KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
