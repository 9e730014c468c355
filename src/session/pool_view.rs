//! A pool as one worker sees it.

use std::{
    cell::{Cell, Ref, RefCell},
    sync::Arc,
    time::Instant,
};

use super::evict::Lost;
use crate::{
    balance::Router,
    config,
    upstream::{Members, Pick, Pool},
};

/// A pool, and this worker's own balancers over its brokers.
pub struct PoolView {
    pub(in crate::session) pool: Arc<Pool>,
    members: RefCell<Arc<Members>>,
    router: RefCell<Router>,
    /// The [`Pool::deaths`] that this worker has acted on.
    pub(in crate::session) deaths: Cell<u64>,
    /// The [`Pool::moves`] that this worker has acted on.
    pub(in crate::session) moves: Cell<u64>,
    pub(in crate::session) rebalancing: Cell<bool>,
    /// Sessions whose broker is down or was removed.
    pub(in crate::session) lost: Lost,
}

impl PoolView {
    pub fn new(pool: &Arc<Pool>) -> Self {
        let members = pool.members();
        Self {
            pool: pool.clone(),
            router: RefCell::new(members.router.clone()),
            members: RefCell::new(members),
            deaths: Cell::new(pool.deaths()),
            moves: Cell::new(pool.moves()),
            rebalancing: Cell::new(false),
            lost: Lost::default(),
        }
    }

    /// Takes the pool's brokers as they are now.
    pub(in crate::session) fn refresh(&self) {
        if self.members.borrow().epoch != self.pool.epoch() {
            let members = self.pool.members();
            *self.router.borrow_mut() = members.router.clone();
            *self.members.borrow_mut() = members;
        }
    }

    /// What the configuration says of the pool.
    pub(in crate::session) fn config(&self) -> Arc<config::Pool> {
        self.members.borrow().config.clone()
    }

    pub(in crate::session) fn members(&self) -> Ref<'_, Arc<Members>> {
        self.members.borrow()
    }

    pub(in crate::session) fn pick<'a>(
        &'a self,
        members: &'a Members,
        key: Option<&'a [u8]>,
        now: Instant,
    ) -> Pick<'a> {
        Pick { pool: &self.pool, members, router: &self.router, key, now }
    }
}
