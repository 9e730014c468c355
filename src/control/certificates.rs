//! The certificates that are in use: told to the metrics, and watched as their end comes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use time::OffsetDateTime;

use crate::{
    config::{CertificateFile, Config, ListenerTls},
    metrics::Metrics,
    timestamp::unix_seconds,
};

/// How often a certificate that ends soon is warned about, beside each start and reload.
pub(super) const LOOK: Duration = Duration::from_hours(24);

/// What ends within so many days is warned about. Whoever renews by machine does so a month before,
/// so that by then two attempts or more have failed; and a fortnight has working days in it.
const SOON: i64 = 14;

const DAY: i64 = 24 * 60 * 60;

/// Has the metrics tell of the certificates of `config`, and of no others; returns how many.
pub(super) fn publish(config: &Config, metrics: &Metrics) -> usize {
    let all = all(config);
    metrics.set_certificates(all.iter().map(|(kind, name, file)| (*kind, &***name, *file)));
    all.len()
}

/// Warns of what should not stay as it is.
pub(super) fn look(config: &Config) {
    let now = unix_seconds(SystemTime::now());
    for (_, _, CertificateFile { path, not_before, not_after }) in all(config) {
        let file = path.display();
        let days = (not_after - now).div_euclid(DAY);
        if now < *not_before {
            let from = date(*not_before);
            tracing::warn!(%file, "the certificate is not valid yet, but from {from} on");
        } else if *not_after < now {
            let to = date(*not_after);
            tracing::warn!(%file, "the certificate expired on {to}: renew it, and reload");
        } else if days < SOON {
            tracing::warn!(%file, "the certificate expires in {days} days: renew it, and reload");
        }
    }
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let revocations = listeners.filter_map(|ListenerTls { revocation, .. }| revocation.as_ref());
    for late in revocations.filter(|revocation| revocation.next_update < now) {
        let (file, due) = (late.path.display(), date(late.next_update));
        tracing::warn!(%file, "a new CRL was due on {due}: who was revoked since is let in");
    }
    let is_insecure =
        |pool: &&crate::config::Pool| pool.tls.as_ref().is_some_and(|tls| tls.insecure);
    for pool in config.pools.iter().filter(is_insecure) {
        tracing::warn!(
            pool = %pool.name,
            "insecure_skip_verify: anyone in between can pass for a broker, and read passwords",
        );
    }
}

/// What it belongs to, that one's name, and the certificate.
fn all(config: &Config) -> Vec<(&'static str, &Arc<str>, &CertificateFile)> {
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

fn date(unix: i64) -> String {
    // No certificate goes beyond the year 9999 (RFC 5280, section 4.1.2.5), nor do dates here.
    OffsetDateTime::from_unix_timestamp(unix)
        .map_or_else(|_| unix.to_string(), |time| time.date().to_string())
}
