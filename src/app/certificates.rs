//! The certificates that are in use: renewed on SIGHUP, and watched as their end comes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use time::OffsetDateTime;

use crate::{
    config::{CertificateFile, Config, ListenerTls},
    observe::Metrics,
    session::Arrival,
    transport::TlsAcceptor,
    upstream::Pool,
};

/// How often a certificate that ends soon is warned about, beside each start and renewal.
pub(super) const LOOK: Duration = Duration::from_hours(24);

/// What ends within so many days is warned about. Whoever renews by machine does so a month before,
/// so that by then two attempts or more have failed; and a fortnight has working days in it.
const SOON: i64 = 14;

const DAY: i64 = 24 * 60 * 60;

const GONE: &str = "has no TLS in the configuration any more; keeping what it has until a restart";

pub(super) struct Certificates {
    /// The configuration, to be read again.
    file: PathBuf,
    listeners: Vec<Listening>,
    /// Those with TLS.
    pools: Vec<Arc<Pool>>,
    metrics: Metrics,
}

/// A listener with TLS.
struct Listening {
    name: Arc<str>,
    acceptor: Arc<TlsAcceptor>,
    tls: ListenerTls,
}

impl Certificates {
    /// `arrivals` are those of the configuration's listeners, in their order.
    pub(super) fn new(
        config: &Config,
        file: &Path,
        arrivals: &[Arrival],
        pools: &[Arc<Pool>],
        metrics: &Metrics,
    ) -> Self {
        let listening = config.listeners.iter().zip(arrivals).filter_map(|(listener, arrival)| {
            let (name, tls) = (listener.name.clone(), listener.tls.clone()?);
            Some(Listening { name, acceptor: arrival.tls.clone()?, tls })
        });
        let certificates = Self {
            file: file.to_owned(),
            listeners: listening.collect(),
            pools: pools.iter().filter(|pool| pool.tls().is_some()).cloned().collect(),
            metrics: metrics.clone(),
        };
        certificates.publish();
        certificates
    }

    /// Reads the configuration, its certificates, keys, CAs and CRLs again, and has all handshakes
    /// from now on go by them. Sessions that are there stay as they are. If anything in the file is
    /// wrong, nothing changes.
    pub(super) fn renew(&mut self) {
        let config = match Config::load(&self.file) {
            Ok(config) => config,
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                tracing::error!("SIGHUP: keeping the certificates that are in use");
                return;
            }
        };
        for Listening { name, acceptor, tls } in &mut self.listeners {
            let found = config.listeners.iter().find(|found| found.name == *name);
            if let Some(renewed) = found.and_then(|found| found.tls.clone()) {
                acceptor.renew(renewed.server.clone());
                *tls = renewed;
                tracing::info!(listener = %name, "TLS renewed");
            } else {
                tracing::warn!(listener = %name, "{GONE}");
            }
        }
        for pool in &self.pools {
            let name = &pool.config.name;
            let found = config.pools.iter().find(|found| found.name == *name);
            if let Some(renewed) = found.and_then(|found| found.tls.as_ref()) {
                pool.renew_tls(renewed);
                tracing::info!(pool = %name, "TLS renewed");
            } else {
                tracing::warn!(pool = %name, "{GONE}");
            }
        }
        self.publish();
        tracing::info!(
            "SIGHUP: certificates, keys, CAs and CRLs are those of the files now; other changes of \
             the configuration need a restart"
        );
        self.look();
    }

    /// Warns of what should not stay as it is.
    pub(super) fn look(&self) {
        let now = OffsetDateTime::from(SystemTime::now()).unix_timestamp();
        for (_, _, CertificateFile { path, not_before, not_after }) in self.all() {
            let file = path.display();
            let days = (not_after - now).div_euclid(DAY);
            if now < not_before {
                let from = date(not_before);
                tracing::warn!(%file, "the certificate is not valid yet, but from {from} on");
            } else if not_after < now {
                let to = date(not_after);
                tracing::warn!(%file, "the certificate expired on {to}: renew it, and send SIGHUP");
            } else if days < SOON {
                tracing::warn!(%file, "the certificate expires in {days} days: renew it, and send SIGHUP");
            }
        }
        let revocations =
            self.listeners.iter().filter_map(|listening| listening.tls.revocation.as_ref());
        for late in revocations.filter(|revocation| revocation.next_update < now) {
            let (file, due) = (late.path.display(), date(late.next_update));
            tracing::warn!(%file, "a new CRL was due on {due}: who was revoked since is let in");
        }
        for pool in self.pools.iter().filter(|pool| pool.tls().is_some_and(|tls| tls.insecure)) {
            tracing::warn!(
                pool = %pool.config.name,
                "insecure_skip_verify: anyone in between can pass for a broker, and read passwords",
            );
        }
    }

    fn publish(&self) {
        let all = self.all();
        self.metrics.set_certificates(all.iter().map(|(kind, name, file)| (*kind, &**name, file)));
    }

    /// What it belongs to, that one's name, and the certificate.
    fn all(&self) -> Vec<(&'static str, Arc<str>, CertificateFile)> {
        let mut all = Vec::new();
        for Listening { name, tls, .. } in &self.listeners {
            all.extend(
                tls.certificates.iter().map(|file| ("listener", name.clone(), file.clone())),
            );
        }
        for pool in &self.pools {
            let (name, tls) = (&pool.config.name, pool.tls());
            let certificates = tls.iter().flat_map(|tls| &tls.certificates);
            all.extend(certificates.map(|file| ("pool", name.clone(), file.clone())));
        }
        all
    }
}

fn date(unix: i64) -> String {
    // No certificate goes beyond the year 9999 (RFC 5280, section 4.1.2.5), nor do dates here.
    OffsetDateTime::from_unix_timestamp(unix)
        .map_or_else(|_| unix.to_string(), |time| time.date().to_string())
}
