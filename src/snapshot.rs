//! The configuration in force, replaced as a whole on each reload. Pools and listeners are shared
//! with the previous snapshot, and change in place.

use std::{
    sync::{Arc, Weak},
    time::SystemTime,
};

use crate::{config::Config, listener::Listener, upstream::Pool};

/// The configuration in force, and the pools and listeners made from it.
#[derive(Clone)]
pub struct Snapshot {
    /// 1 at the start; each reload adds 1.
    pub generation: u64,
    pub loaded_at: SystemTime,
    pub config: Arc<Config>,
    /// In the order of the configuration, as are `listeners`.
    pub pools: Vec<Arc<Pool>>,
    pub listeners: Vec<Arc<Listener>>,
    /// Removed pools, for as long as they have sessions.
    retired: Vec<Weak<Pool>>,
}

impl Snapshot {
    /// The first snapshot, with which the proxy starts.
    pub fn first(
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        listeners: Vec<Arc<Listener>>,
    ) -> Self {
        Self {
            generation: 1,
            loaded_at: SystemTime::now(),
            config: config.clone(),
            pools,
            listeners,
            retired: Vec::new(),
        }
    }

    /// The snapshot after this one.
    #[must_use]
    pub fn next(
        &self,
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        listeners: Vec<Arc<Listener>>,
    ) -> Self {
        let next = Self::first(config, pools, listeners);
        let is_gone = |pool: &Arc<Pool>| !next.pools.iter().any(|other| Arc::ptr_eq(other, pool));
        let retired = self.all_pools().filter(is_gone).map(|pool| Arc::downgrade(&pool));
        Self { generation: self.generation + 1, retired: retired.collect(), ..next }
    }

    /// All pools, including removed ones that still have sessions.
    pub fn all_pools(&self) -> impl Iterator<Item = Arc<Pool>> {
        self.pools.iter().cloned().chain(self.retired.iter().filter_map(Weak::upgrade))
    }

    /// The pool with that name, even if it was removed and still has sessions.
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.all_pools().find(|pool| *pool.name == *name)
    }
}
