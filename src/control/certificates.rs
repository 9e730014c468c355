//! The certificates of a configuration, and their metrics.

use std::sync::Arc;

use crate::{
    config::{CertificateFile, Config},
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
