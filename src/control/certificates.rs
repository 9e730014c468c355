//! The certificates of a configuration, and their metrics.

use std::sync::Arc;

use crate::{
    config::{CertificateFile, Config, Listener, Pool},
    metrics::Metrics,
};

/// Replaces the certificates in the metrics with those of `config`; returns how many there are.
pub(super) fn publish(config: &Config, metrics: &Metrics) -> usize {
    let all = all(config);
    metrics.set_certificates(all.iter().map(|(kind, name, file)| (*kind, &***name, *file)));
    all.len()
}

/// Every certificate with the type of its owner, `listener` or `pool`, and the owner's name.
pub(super) fn all(config: &Config) -> Vec<(&'static str, &Arc<str>, &CertificateFile)> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let files = listener.tls.iter().flat_map(|tls| &tls.certificates);
        files.map(|file| ("listener", &listener.name, file))
    });
    let pools = config.pools.iter().flat_map(|pool| {
        let files = pool.tls.iter().flat_map(|tls| &tls.certificates);
        files.map(|file| ("pool", &pool.name, file))
    });
    listeners.chain(pools).collect()
}

/// Whether TLS of any listener or pool was read again.
pub(super) fn tls_differs(before: &Config, after: &Config) -> bool {
    let is_kept = |new: &Listener| {
        let old = before.listeners.iter().find(|old| old.name == new.name);
        match (old.and_then(|old| old.tls.as_ref()), &new.tls) {
            (Some(old), Some(new)) => old.server.is_same(&new.server),
            (_, new) => new.is_none(),
        }
    };
    let is_same = |new: &Pool| {
        let old = before.pools.iter().find(|old| old.name == new.name);
        old.is_some_and(|old| old.tls == new.tls)
    };
    !after.listeners.iter().all(is_kept) || !after.pools.iter().all(is_same)
}
