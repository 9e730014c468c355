//! The brokers of sessions that have moved here from another process.

use std::{
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{Pool, replace_members::depart};
use crate::{
    config::{Address, Upstream},
    upstream::broker::Broker,
};

impl Pool {
    /// The broker with this name. If the pool does not have it, it is one that has left the pool and
    /// still has sessions, as after a reload; `address` is where its session reached it.
    pub(crate) fn broker_of_moved(&self, name: &str, address: &Address) -> Arc<Broker> {
        let mut state = self.state();
        let members = self.members();
        let member = members.list.iter().find(|member| *member.broker.name == *name);
        if let Some(member) = member {
            return member.broker.clone();
        }
        if let Some(departed) = state.departed.get(name).and_then(std::sync::Weak::upgrade) {
            return departed;
        }
        let upstream = Upstream {
            name: name.into(),
            address: address.clone(),
            weight: NonZeroU32::MIN,
            max_connections: None,
            backup: false,
        };
        let config = &members.config;
        let broker = Arc::new(Broker::new(config, &upstream, &self.all_metrics, &self.queued));
        depart(&broker, Instant::now());
        // DNS may not have answered yet; a broker that it names no longer is not removed either.
        broker.flags.removed.store(config.discover.is_none(), Ordering::Relaxed);
        state.departed.insert(broker.name.clone(), Arc::downgrade(&broker));
        broker
    }
}
