//! Warnings about a configuration that is in use.

use std::time::SystemTime;

use time::OffsetDateTime;

use super::certificates;
use crate::{
    config::{CertificateFile, Config, ListenerTls, Pool},
    timestamp::unix_seconds,
};

/// The proxy warns about a certificate that expires within this many days. Automatic renewal
/// happens a month before expiry, so by then it has failed at least twice, and two weeks include
/// working days.
const EXPIRY_WARNING_DAYS: i64 = 14;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Logs everything that is likely a mistake or will soon be a problem.
pub(super) fn log_warnings(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    warn_of_certificates(config);
}

/// Logs what became a mistake or a problem when files were read again.
pub(super) fn log_new_warnings(before: &Config, config: &Config) {
    let known = before.warnings();
    for warning in config.warnings().iter().filter(|warning| !known.contains(warning)) {
        tracing::warn!("{warning}");
    }
    if certificates::tls_differs(before, config) {
        warn_of_certificates(config);
    }
}

/// Logs certificates and CRLs that are expired or soon will be, and checks that are disabled.
pub(super) fn warn_of_certificates(config: &Config) {
    let now = unix_seconds(SystemTime::now());
    for (_, _, certificate) in certificates::all(config) {
        if let Some(warning) = expiry_warning(certificate, now) {
            let file = certificate.path.display();
            tracing::warn!(%file, "{warning}");
        }
    }
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let revocations = listeners.filter_map(|ListenerTls { revocation, .. }| revocation.as_ref());
    for late in revocations.filter(|revocation| revocation.next_update < now) {
        let (file, due) = (late.path.display(), date(late.next_update));
        tracing::warn!(
            %file,
            "the next CRL was due on {due}: certificates revoked since then are accepted",
        );
    }
    for warning in staple_warnings(config) {
        tracing::warn!("{warning}");
    }
    let is_insecure = |pool: &&Pool| pool.tls.as_ref().is_some_and(|tls| tls.insecure);
    for pool in config.pools.iter().filter(is_insecure) {
        tracing::warn!(
            pool = %pool.name,
            "insecure_skip_verify: anyone on the network path can impersonate a broker and read \
             passwords",
        );
    }
}

/// The OCSP responses that are outdated, a sentence each.
pub(crate) fn staple_warnings(config: &Config) -> Vec<String> {
    let now = unix_seconds(SystemTime::now());
    let listeners = config.listeners.iter();
    let outdated = listeners.flat_map(|listener| {
        let staples = listener.tls.iter().flat_map(|tls| &tls.staples);
        staples.filter(|staple| staple.next_update < now).map(|staple| {
            format!(
                "tls.certificates of listener {}: the OCSP response in {} was valid until {}, and \
                 is not sent: fetch a new one and reload",
                listener.name,
                staple.path.display(),
                date(staple.next_update)
            )
        })
    });
    outdated.collect()
}

/// The certificates that are not valid, or soon will not be, a sentence each.
pub(crate) fn expiry_warnings(config: &Config) -> Vec<String> {
    let now = unix_seconds(SystemTime::now());
    let all = certificates::all(config);
    let warnings = all.into_iter().filter_map(|(owner, name, certificate)| {
        let warning = expiry_warning(certificate, now)?;
        Some(format!("tls of {owner} {name}: {}: {warning}", certificate.path.display()))
    });
    warnings.collect()
}

fn expiry_warning(certificate: &CertificateFile, now: i64) -> Option<String> {
    let CertificateFile { not_before, not_after, .. } = certificate;
    let days = (not_after - now).div_euclid(SECONDS_PER_DAY);
    if now < *not_before {
        Some(format!("the certificate is not valid before {}", date(*not_before)))
    } else if *not_after < now {
        Some(format!("the certificate expired on {}: renew it and reload", date(*not_after)))
    } else if days < EXPIRY_WARNING_DAYS {
        Some(format!("the certificate expires in {days} days: renew it and reload"))
    } else {
        None
    }
}

fn date(unix: i64) -> String {
    // Both certificates (RFC 5280, section 4.1.2.5) and these dates end with the year 9999.
    OffsetDateTime::from_unix_timestamp(unix)
        .map_or_else(|_| unix.to_string(), |time| time.date().to_string())
}
