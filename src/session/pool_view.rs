//! One worker's view of a pool.

use std::{
    cell::{Cell, Ref, RefCell},
    sync::Arc,
    time::Instant,
};

use super::by_age::SessionsByAge;
use crate::{
    balance::{Router, TenantFields},
    config,
    upstream::{Members, Pick, Pool},
};

/// A pool, and this worker's own balancers over its brokers.
pub(crate) struct PoolView {
    pub(crate) pool: Arc<Pool>,
    members: RefCell<Arc<Members>>,
    router: RefCell<Router>,
    /// The [`Pool::down_count`] that this worker has acted on.
    pub(crate) deaths: Cell<u64>,
    /// The [`Pool::move_count`] that this worker has acted on.
    pub(crate) moves: Cell<u64>,
    pub(crate) rebalancing: Cell<bool>,
    /// Sessions to end because their broker is down or was removed.
    pub(crate) lost_sessions: RefCell<SessionsByAge>,
    /// Whether a task is ending `lost_sessions`.
    pub(crate) ending_lost_sessions: Cell<bool>,
}

impl PoolView {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        let members = pool.members();
        Self {
            pool: pool.clone(),
            router: RefCell::new(members.router.clone()),
            members: RefCell::new(members),
            deaths: Cell::new(pool.down_count()),
            moves: Cell::new(pool.move_count()),
            rebalancing: Cell::new(false),
            lost_sessions: RefCell::default(),
            ending_lost_sessions: Cell::new(false),
        }
    }

    /// Updates the view if the pool's members have changed. A choice that is being made among the
    /// former members is finished among them.
    pub(crate) fn refresh(&self) {
        if self.members.borrow().epoch == self.pool.epoch() {
            return;
        }
        if let (Ok(mut members), Ok(mut router)) =
            (self.members.try_borrow_mut(), self.router.try_borrow_mut())
        {
            *members = self.pool.members();
            *router = members.router.clone();
        }
    }

    /// Has the next sweep look for sessions that belong elsewhere.
    pub(crate) fn forget_moves(&self) {
        self.moves.set(u64::MAX);
    }

    /// The pool's configuration, as of the last refresh.
    pub(crate) fn config(&self) -> Arc<config::Pool> {
        self.members.borrow().config.clone()
    }

    /// The pool's configuration as of now: another may have come into force since the last client.
    pub(crate) fn current_config(&self) -> Arc<config::Pool> {
        self.refresh();
        self.config()
    }

    /// The pool's brokers, as of the last refresh.
    pub(crate) fn members(&self) -> Ref<'_, Arc<Members>> {
        self.members.borrow()
    }

    /// The variables besides the client ID that identify a client by the pool's current key.
    pub(crate) fn tenant_fields(&self) -> TenantFields {
        self.refresh();
        self.members.borrow().config.balance.key.tenant_fields()
    }

    pub(crate) fn pick<'a>(
        &'a self,
        members: &'a Members,
        key: Option<&'a [u8]>,
        now: Instant,
    ) -> Pick<'a> {
        Pick { pool: &self.pool, members, router: &self.router, key, now }
    }
}
