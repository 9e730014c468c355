//! What the proxy runs by at one time: swapped whole on reload, and never changed.

use std::{sync::Arc, time::SystemTime};

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
}

/// A listener: how clients come in there, and where to.
#[derive(Clone)]
pub struct Entrance {
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
    /// What the proxy starts by. `binds` are the addresses in force, one a listener.
    pub fn first(
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        binds: impl IntoIterator<Item = Bind>,
        metrics: &Metrics,
    ) -> Self {
        Self::new(1, config, pools, binds, metrics)
    }

    /// What comes after this one.
    pub fn next(
        &self,
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        binds: impl IntoIterator<Item = Bind>,
        metrics: &Metrics,
    ) -> Self {
        Self::new(self.generation + 1, config, pools, binds, metrics)
    }

    fn new(
        generation: u64,
        config: &Arc<Config>,
        pools: Vec<Arc<Pool>>,
        binds: impl IntoIterator<Item = Bind>,
        metrics: &Metrics,
    ) -> Self {
        let entrances = config.listeners.iter().zip(binds).map(|(listener, bind)| {
            let arrival = Arrival::new(listener);
            Entrance {
                name: listener.name.clone(),
                transport: transport(&bind, &arrival),
                bind,
                pool: listener.pool,
                arrival,
                metrics: metrics.listener(&listener.name),
            }
        });
        let entrances = entrances.collect();
        let (config, loaded_at) = (config.clone(), SystemTime::now());
        Self { generation, loaded_at, config, pools, entrances }
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
