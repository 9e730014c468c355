//! Warnings about listeners that pass TLS through, and about the pools of their clients.

use super::{Config, Listener, Pool, Probe};
use crate::template::Variable;

/// Likely mistakes of a listener, a sentence each; none unless it passes TLS through.
pub(super) fn warnings(config: &Config, listener: &Listener) -> Vec<String> {
    if !listener.tls_passthrough {
        return Vec::new();
    }
    let pool = &config.pools[listener.pool];
    let found =
        [hidden_key(listener, pool), plain_checks(listener, pool), plain_clients(config, listener)];
    found.into_iter().flatten().collect()
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
fn plain_clients(config: &Config, listener: &Listener) -> Option<String> {
    let is_plain = |other: &&Listener| other.pool == listener.pool && !other.tls_passthrough;
    let other = config.listeners.iter().find(is_plain)?;
    Some(format!(
        "pool {} gets TLS from listener {}, which passes it through, and MQTT without TLS from \
         listener {}: give one of them a pool of its own",
        config.pools[listener.pool].name, listener.name, other.name
    ))
}
