//! What the proxy runs by at one time, swapped whole on reload. Pools and listeners are shared with
//! the one before, and change in place.

use std::{sync::Arc, time::SystemTime};

use crate::{config::Config, listener::Listener, upstream::Pool};

/// The configuration that is in force, and what was made of it.
#[derive(Clone)]
pub struct Snapshot {
    /// 1 from the start on, and one more with each reload.
    pub generation: u64,
    pub loaded_at: SystemTime,
    pub config: Arc<Config>,
    /// In the order of the configuration, as are `listeners`.
    pub pools: Vec<Arc<Pool>>,
    pub listeners: Vec<Arc<Listener>>,
    /// Pools that the configuration had before; those where sessions may be.
    pub retired: Vec<Arc<Pool>>,
}

impl Snapshot {
    /// What the proxy starts by.
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

    /// What comes after this one.
    #[must_use]
    pub fn next(
        &self,
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        listeners: Vec<Arc<Listener>>,
    ) -> Self {
        let next = Self::first(config, pools, listeners);
        let retired = self.retired.iter().filter(|pool| !pool.is_deserted());
        let retired = self.pools.iter().chain(retired);
        let is_gone = |pool: &&Arc<Pool>| !next.pools.iter().any(|other| other.name == pool.name);
        Self {
            generation: self.generation + 1,
            retired: retired.filter(is_gone).cloned().collect(),
            ..next
        }
    }

    /// The same without the removed pools where nobody is any more, if there are such.
    pub fn without_deserted(&self) -> Option<Self> {
        let mut retired = self.retired.clone();
        retired.retain(|pool| !pool.is_deserted());
        let is_less = retired.len() < self.retired.len();
        is_less.then(|| Self { retired, ..self.clone() })
    }

    /// The pool of that name, be it only that sessions are still there.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().chain(&self.retired).find(|pool| *pool.name == *name)
    }
}
