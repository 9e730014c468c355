//! What the proxy runs by at one time: swapped whole on reload, and never changed.

use std::{sync::Arc, time::SystemTime};

use crate::{
    config::{Bind, Config},
    observe::{ListenerMetrics, Metrics, Transport},
    session::Arrival,
    upstream::Pool,
};

/// The configuration that is in force, and what was made of it.
#[derive(Clone)]
pub struct Snapshot {
    /// 1 from the start on, and one more with each reload.
    pub generation: u64,
    pub loaded_at: SystemTime,
    pub config: Arc<Config>,
    /// In the order of the configuration, as are `entrances`.
    pub pools: Vec<Arc<Pool>>,
    pub entrances: Vec<Entrance>,
    /// Pools that the configuration had before; those where sessions may be.
    pub retired: Vec<Arc<Pool>>,
    /// Listeners that it had before; those whose connections may be there.
    pub closed: Vec<Entrance>,
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
            closed: Vec::new(),
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
        let retired = self.retired.iter().filter(|pool| !pool.is_deserted());
        let retired = self.pools.iter().chain(retired);
        let is_gone = |pool: &&Arc<Pool>| !next.pools.iter().any(|other| other.name == pool.name);
        let closed = self.closed.iter().filter(|closed| !closed.is_deserted());
        let closed = self.entrances.iter().chain(closed);
        let is_closed =
            |entrance: &&Entrance| !next.entrances.iter().any(|other| other.name == entrance.name);
        Self {
            generation: self.generation + 1,
            retired: retired.filter(is_gone).cloned().collect(),
            closed: closed.filter(is_closed).cloned().collect(),
            ..next
        }
    }

    /// The same without the removed pools and listeners where nobody is any more, if there are such.
    pub fn without_deserted(&self) -> Option<Self> {
        let (mut retired, mut closed) = (self.retired.clone(), self.closed.clone());
        retired.retain(|pool| !pool.is_deserted());
        closed.retain(|closed| !closed.is_deserted());
        let is_less = retired.len() < self.retired.len() || closed.len() < self.closed.len();
        is_less.then(|| Self { retired, closed, ..self.clone() })
    }

    /// The pool of that name, be it only that sessions are still there.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().chain(&self.retired).find(|pool| *pool.name == *name)
    }
}

impl Entrance {
    /// Whether no connection of it is left.
    pub fn is_deserted(&self) -> bool {
        self.metrics.connections_active.get() == 0
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
