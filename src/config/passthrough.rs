//! Warnings about listeners that pass TLS through, and about the pools of their clients.

use std::collections::BTreeSet;

use super::{Config, Listener, Pool, Probe};
use crate::{rules::Action, template::Variable};

/// Likely mistakes of a listener, a sentence each; none unless it passes TLS through.
pub(super) fn warnings(config: &Config, listener: &Listener) -> Vec<String> {
    if !listener.tls_passthrough {
        return Vec::new();
    }
    let of_pool = |index: &usize| {
        let pool = &config.pools[*index];
        let plain_clients = plain_clients(config, listener, *index);
        [hidden_key(listener, pool), plain_checks(listener, pool), plain_clients]
    };
    pools(listener).iter().flat_map(of_pool).flatten().collect()
}

/// The pools that the listener's clients may go to.
fn pools(listener: &Listener) -> BTreeSet<usize> {
    let by_rules = listener.rules.iter().filter_map(|rule| match rule.action {
        Action::Pool(index) => Some(index),
        Action::Refuse(_) | Action::Redirect(_) => None,
    });
    by_rules.chain([listener.pool]).collect()
}

/// The key of the pool has a value for no client of this listener.
fn hidden_key(listener: &Listener, pool: &Pool) -> Option<String> {
    let key = &pool.balance.key;
    let is_known = |variable: &Variable| {
        matches!(variable, Variable::Sni | Variable::SourceIp | Variable::Listener)
    };
    let identifies = !key.uses_client_id() && key.variables().any(is_known);
    (pool.balance.algorithm.is_keyed() && !identifies).then(|| {
        format!(
            "listener {}: balance.key of pool {} needs what tls: passthrough hides, so its clients are \
             placed by source address (route fallback_key): set the key to sni or source_ip",
            listener.name, pool.name
        )
    })
}

/// Checks speak MQTT without TLS to the brokers' TLS ports.
fn plain_checks(listener: &Listener, pool: &Pool) -> Option<String> {
    let check = pool.health.active.as_ref()?;
    matches!(check.probe, Probe::Mqtt { .. }).then(|| {
        format!(
            "pool {}: its checks of type mqtt are not TLS, and listener {} passes TLS through to the \
             same ports, so the checks will fail: use type tcp or http",
            pool.name, listener.name
        )
    })
}

/// Another listener sends MQTT without TLS to the brokers' TLS ports.
fn plain_clients(config: &Config, listener: &Listener, pool: usize) -> Option<String> {
    let is_plain = |other: &&Listener| !other.tls_passthrough && pools(other).contains(&pool);
    let other = config.listeners.iter().find(is_plain)?;
    Some(format!(
        "pool {} gets TLS from listener {}, which passes it through, and MQTT without TLS from \
         listener {}: give one of them a pool of its own",
        config.pools[pool].name, listener.name, other.name
    ))
}
