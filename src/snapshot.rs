//! What the proxy runs by at one time: swapped whole on reload, and never changed.

use std::{
    sync::{Arc, Weak},
    time::SystemTime,
};

use crate::{
    config::{Bind, Config},
    observe::{ListenerMetrics, Metrics, Transport},
    session::Arrival,
    upstream::Pool,
};

/// The configuration that is in force, and what was made of it.
pub struct Snapshot {
    /// 1 from the start on, and one more with each reload.
    pub generation: u64,
    pub loaded_at: SystemTime,
    pub config: Arc<Config>,
    /// In the order of the configuration, as are `entrances`.
    pub pools: Vec<Arc<Pool>>,
    pub entrances: Vec<Entrance>,
    /// Pools that the configuration had before, for as long as sessions are there.
    retired: Vec<Weak<Pool>>,
}

/// A listener: how clients come in there, and where to.
#[derive(Clone)]
pub struct Entrance {
    /// Stays with its sockets, through reloads that change all else.
    pub id: u64,
    pub name: Arc<str>,
    /// The address in force: with its port where the configuration says 0.
    pub bind: Bind,
    pub transport: Transport,
    /// Index into the snapshot's pools.
    pub pool: usize,
    pub arrival: Arrival,
    pub metrics: ListenerMetrics,
}

impl Snapshot {
    /// What the proxy starts by. `places` are the listeners' IDs and addresses in force, in order.
    pub fn first(
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        places: impl Iterator<Item = (u64, Bind)>,
        metrics: &Metrics,
    ) -> Self {
        let entrances = config.listeners.iter().zip(places).map(|(listener, (id, bind))| {
            let arrival = Arrival::new(listener);
            Entrance {
                id,
                name: listener.name.clone(),
                transport: transport(&bind, &arrival),
                bind,
                pool: listener.pool,
                arrival,
                metrics: metrics.listener(&listener.name),
            }
        });
        Self {
            generation: 1,
            loaded_at: SystemTime::now(),
            entrances: entrances.collect(),
            config: config.clone(),
            pools,
            retired: Vec::new(),
        }
    }

    /// What comes after this one.
    #[must_use]
    pub fn next(
        &self,
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        places: impl Iterator<Item = (u64, Bind)>,
        metrics: &Metrics,
    ) -> Self {
        let next = Self::first(config, pools, places, metrics);
        let is_gone = |pool: &Arc<Pool>| !next.pools.iter().any(|other| Arc::ptr_eq(other, pool));
        let retired = self.all_pools().filter(is_gone).map(|pool| Arc::downgrade(&pool));
        Self { generation: self.generation + 1, retired: retired.collect(), ..next }
    }

    /// All pools, those included that only have sessions left.
    pub fn all_pools(&self) -> impl Iterator<Item = Arc<Pool>> {
        self.pools.iter().cloned().chain(self.retired.iter().filter_map(Weak::upgrade))
    }

    /// The pool of that name, also if it only has sessions left.
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.all_pools().find(|pool| *pool.name == *name)
    }
}

/// What the log calls the way that clients of a listener come.
fn transport(bind: &Bind, arrival: &Arrival) -> Transport {
    match (&arrival.websocket, &arrival.tls, bind) {
        (Some(_), Some(_), _) => Transport::Wss,
        (Some(_), None, _) => Transport::Ws,
        (None, Some(_), _) => Transport::Tls,
        (None, None, Bind::Tcp(_)) => Transport::Tcp,
        (None, None, Bind::Unix(_)) => Transport::Unix,
    }
}
