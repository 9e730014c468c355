//! The second half of a reload: applies a plan, without waiting and without errors.

use std::{sync::Arc, time::Instant};

use super::{
    diff::{changes_outside_pools, destinations_differ, pool_changes},
    plan::ReloadPlan,
};
use crate::{
    config,
    control::{
        certificates,
        pools::ResolvedHosts,
        proxy::{Proxy, worker_updates},
    },
    snapshot::Snapshot,
    upstream::Pool,
    worker::PendingUpdate,
};

/// Applies the plan. Returns the changes, one line each.
pub(super) fn commit(
    proxy: &mut Proxy,
    before: &Snapshot,
    plan: ReloadPlan,
    hosts: &ResolvedHosts,
    pools: Vec<Arc<Pool>>,
    pending: &PendingUpdate,
) -> Vec<String> {
    let ReloadPlan { config, logs, bound } = plan;
    let mut changes = changes_outside_pools(&before.config, &config);
    proxy.logs.commit(logs);
    set_limits(proxy, &before.config, &config);
    for (pool, config) in pools.iter().zip(&config.pools) {
        if !before.pools.iter().any(|other| Arc::ptr_eq(other, pool)) {
            changes.push(format!("pool {}: added", config.name));
        }
        changes.extend(reconfigure(pool, config, hosts));
    }
    let mut removed = Vec::new();
    for pool in &before.pools {
        if !pools.iter().any(|other| Arc::ptr_eq(other, pool)) {
            changes.push(format!("pool {}: removed", pool.name));
            removed.push(pool);
        }
    }
    let sockets = proxy.listeners.adopt(bound, &config, &pools, &proxy.metrics);
    let listeners = proxy.listeners.open().to_vec();
    let snapshot = Arc::new(before.next(&config, pools, listeners));
    proxy.current.store(snapshot.clone());
    let worker_updates =
        worker_updates(&snapshot, proxy.workers.len(), sockets, &proxy.logs, pending);
    proxy.workers.iter().zip(worker_updates).for_each(|(worker, update)| worker.update(update));
    // Workers get their updates first: this wakes the clients that wait for these brokers, which
    // then have to follow the new rules.
    for pool in removed {
        pool.retire(Instant::now());
    }
    // Workers get their updates before this signal, so that they follow the new rules.
    if destinations_differ(&before.config, &config) {
        snapshot.pools.iter().chain(&before.pools).for_each(|pool| pool.note_rules_changed());
    }
    let has_certificates = certificates::publish(&config, &proxy.metrics) > 0;
    if has_certificates && certificates::tls_differs(&before.config, &config) {
        changes.push("certificates, keys, CAs and CRLs: reloaded".to_owned());
    }
    changes
}

fn set_limits(proxy: &Proxy, before: &config::Config, after: &config::Config) {
    let [old, new] = [before, after]
        .map(|config| proxy.descriptors.max_sessions_for(config, proxy.workers.len()));
    let max_connections = [before, after].map(|config| config.limits.max_connections);
    if old != new || max_connections[0] != max_connections[1] {
        proxy.descriptors.log(new, max_connections[1]);
    }
    proxy.limiter.reconfigure(&after.limits, new);
    proxy.limiter.quotas.reconfigure(&after.quotas, &proxy.metrics);
}

/// Applies a configuration to a pool; returns the changes.
fn reconfigure(pool: &Pool, config: &config::Pool, hosts: &ResolvedHosts) -> Vec<String> {
    let before = pool.config();
    let changes = pool.reconfigure(config, &|endpoint| hosts.apply_to(endpoint), Instant::now());
    pool_changes(&pool.name, settings_differ(&before, config), &changes)
}

/// Whether anything differs except brokers and certificates, which are always replaced.
fn settings_differ(before: &config::Pool, after: &config::Pool) -> bool {
    let settings =
        |pool: &config::Pool| config::Pool { upstreams: Vec::new(), tls: None, ..pool.clone() };
    settings(before) != settings(after) || before.tls.is_some() != after.tls.is_some()
}
