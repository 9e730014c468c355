//! One connection's place in the quotas.

use std::sync::Arc;

use super::{
    key_counts::KeyLease,
    quota::{Quota, QuotaSet},
};
use crate::{config::USERNAME_QUOTA, escape::quote, template::ClientFields};

/// The counts of one connection in the quotas, until it is dropped.
#[derive(Default)]
pub(crate) struct QuotaLeases {
    /// Of the quotas in which it is counted.
    generation: u64,
    leases: Vec<KeyLease>,
}

/// A quota that is full for a client's key.
#[derive(Clone)]
pub(crate) struct ReachedQuota {
    quota: Arc<Quota>,
    key: Box<str>,
}

impl QuotaLeases {
    /// Counts a connection in each quota that has room, and returns those that have none.
    pub(crate) fn enter(set: &QuotaSet, client: &ClientFields<'_>) -> (Self, Vec<ReachedQuota>) {
        let (mut leases, mut reached) = (Vec::new(), Vec::new());
        for (quota, key) in set.of_client(client) {
            match quota.counts.enter(&key, quota.max) {
                Some(lease) => leases.push(lease),
                None => reached.push(ReachedQuota { quota: quota.clone(), key }),
            }
        }
        (Self { generation: set.generation, leases }, reached)
    }

    /// Counts the connection in a quota that was full, if it has room now.
    pub(crate) fn retry(&mut self, reached: &ReachedQuota) -> bool {
        self.enter_up_to(reached, reached.quota.max)
    }

    /// Counts the connection in a full quota, because an older one of its client ends for it.
    pub(crate) fn exceed(&mut self, reached: &ReachedQuota) {
        self.enter_up_to(reached, u32::MAX);
    }

    /// Counts the connection again by other quotas, beyond their limits as well: a connection that
    /// exists stays.
    pub(crate) fn recount(&mut self, set: &QuotaSet, client: &ClientFields<'_>) {
        if self.generation == set.generation {
            return;
        }
        let mut before = std::mem::take(&mut self.leases);
        self.generation = set.generation;
        self.leases.extend(set.of_client(client).into_iter().filter_map(|(quota, key)| {
            match before.iter().position(|lease| lease.is_of(&quota.counts, &key)) {
                Some(index) => Some(before.swap_remove(index)),
                None => quota.counts.enter(&key, u32::MAX),
            }
        }));
    }

    /// Whether the connection counts in this quota, with the same key.
    pub(crate) fn counts_in(&self, reached: &ReachedQuota) -> bool {
        let ReachedQuota { quota, key } = reached;
        self.leases.iter().any(|lease| lease.is_of(&quota.counts, key))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn enter_up_to(&mut self, ReachedQuota { quota, key }: &ReachedQuota, max: u32) -> bool {
        let lease = quota.counts.enter(key, max);
        let entered = lease.is_some();
        self.leases.extend(lease);
        entered
    }
}

impl ReachedQuota {
    /// Counts a client that is refused, and describes why.
    pub(crate) fn refuse(&self) -> String {
        self.quota.metrics.refused.inc();
        let (name, key) = (&*self.quota.name, quote(&self.key));
        if name == USERNAME_QUOTA {
            return format!("more than {USERNAME_QUOTA} of {key}");
        }
        format!("more than max_connections of quota {name} for {key}")
    }
}
