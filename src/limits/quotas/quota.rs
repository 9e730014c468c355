//! The quotas of the configuration in force.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::key_counts::KeyCounts;
use crate::{
    config,
    metrics::{Metrics, QuotaMetrics},
    template::{ClientFields, Template, Variable},
};

/// The most keys in the status of a quota.
const MAX_FULLEST_KEYS: usize = 5;

/// The quotas in force, shared by all workers; a reload replaces them.
#[derive(Default)]
pub(crate) struct Quotas(ArcSwap<QuotaSet>);

/// The quotas of one configuration.
#[derive(Default)]
pub(crate) struct QuotaSet {
    /// Counts the configurations; the quotas of two sets with the same number are the same.
    pub(super) generation: u64,
    pub(super) quotas: Box<[Arc<Quota>]>,
}

/// One quota.
pub(crate) struct Quota {
    pub(super) name: Arc<str>,
    key: Template,
    pub(super) max: u32,
    pub(super) counts: Arc<KeyCounts>,
    pub(super) metrics: QuotaMetrics,
}

/// What a quota is used for now.
pub(crate) struct QuotaUsage {
    pub(crate) name: Arc<str>,
    pub(crate) max_connections: u32,
    /// The number of keys that have connections.
    pub(crate) keys: usize,
    /// The keys with the most connections, and how many those are.
    pub(crate) fullest: Vec<(Arc<str>, u32)>,
}

impl Quotas {
    /// Applies other quotas. One with the name and the key of an earlier one keeps its counts;
    /// existing connections have to be counted in others.
    pub(crate) fn reconfigure(&self, quotas: &[config::Quota], metrics: &Metrics) {
        let before = self.0.load();
        let quota = |config: &config::Quota| {
            let same = |known: &&Arc<Quota>| known.name == config.name && known.key == config.key;
            let known = before.quotas.iter().find(same);
            Arc::new(Quota {
                name: config.name.clone(),
                key: config.key.clone(),
                max: config.max_connections.get(),
                counts: known.map_or_else(|| Arc::new(KeyCounts::new()), |q| q.counts.clone()),
                metrics: metrics.quota(&config.name),
            })
        };
        let quotas = quotas.iter().map(quota).collect();
        self.0.store(Arc::new(QuotaSet { generation: before.generation + 1, quotas }));
    }

    pub(crate) fn current(&self) -> Guard<Arc<QuotaSet>> {
        self.0.load()
    }

    /// In the order of the configuration.
    pub(crate) fn usage(&self) -> Vec<QuotaUsage> {
        let usage = |quota: &Arc<Quota>| {
            let (keys, fullest) = quota.counts.usage(MAX_FULLEST_KEYS);
            QuotaUsage { name: quota.name.clone(), max_connections: quota.max, keys, fullest }
        };
        self.current().quotas.iter().map(usage).collect()
    }
}

impl QuotaSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.quotas.is_empty()
    }

    /// The variables of all keys.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.quotas.iter().flat_map(|quota| quota.key.variables())
    }

    /// The quotas that count this client, each with the client's key.
    pub(super) fn of_client(&self, client: &ClientFields<'_>) -> Vec<(&Arc<Quota>, Box<str>)> {
        let key = |quota: &Quota| Some(Box::from(&*quota.key.render(client).ok()?));
        self.quotas.iter().filter_map(|quota| Some((quota, key(quota)?))).collect()
    }
}
