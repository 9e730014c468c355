//! The certificates that are in use: renewed on SIGHUP, and watched as their end comes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use time::OffsetDateTime;

use crate::{
    config::{CertificateFile, Config, ListenerTls, PoolTls},
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

pub(super) struct Certificates {
    /// The configuration, to be read again.
    file: PathBuf,
    listeners: Vec<Listening>,
    pools: Vec<Dialling>,
    metrics: Metrics,
}

/// A listener with TLS.
struct Listening {
    name: Arc<str>,
    acceptor: Arc<TlsAcceptor>,
    tls: ListenerTls,
}

/// A pool with TLS.
struct Dialling {
    pool: Arc<Pool>,
    tls: PoolTls,
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
        let dialling = pools.iter().filter_map(|pool| {
            Some(Dialling { pool: pool.clone(), tls: pool.config.tls.clone()? })
        });
        let certificates = Self {
            file: file.to_owned(),
            listeners: listening.collect(),
            pools: dialling.collect(),
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
        for listener in &mut self.listeners {
            let found = config.listeners.iter().find(|found| found.name == listener.name);
            let Some(tls) = found.and_then(|found| found.tls.clone()) else {
                tracing::warn!(listener = %listener.name, "has no TLS in the configuration any more; keeping it");
                continue;
            };
            listener.acceptor.renew(tls.server.clone());
            listener.tls = tls;
            tracing::info!(listener = %listener.name, "TLS renewed");
        }
        for Dialling { pool, tls } in &mut self.pools {
            let name = &pool.config.name;
            let found = config.pools.iter().find(|found| found.name == *name);
            let Some(renewed) = found.and_then(|found| found.tls.clone()) else {
                tracing::warn!(pool = %name, "has no TLS in the configuration any more; keeping it");
                continue;
            };
            *tls = renewed;
            tracing::info!(pool = %name, "TLS renewed");
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
        for (_, _, certificate) in self.all() {
            let CertificateFile { path, not_before, not_after } = certificate;
            let file = path.display();
            let days = (not_after - now).div_euclid(DAY);
            if now < *not_before {
                let from = date(*not_before);
                tracing::warn!(%file, "the certificate is not valid yet, but from {from}");
            } else if *not_after < now {
                let to = date(*not_after);
                tracing::warn!(%file, "the certificate has expired, on {to}: renew it, and send SIGHUP");
            } else if days < SOON {
                tracing::warn!(%file, "the certificate expires in {days} days: renew it, and send SIGHUP");
            }
        }
        let revocations =
            self.listeners.iter().filter_map(|listener| listener.tls.revocation.as_ref());
        for late in revocations.filter(|revocation| revocation.next_update < now) {
            let due = date(late.next_update);
            tracing::warn!(
                file = %late.path.display(),
                "a new CRL was due on {due}: who was revoked since is let in",
            );
        }
        for Dialling { pool, .. } in self.pools.iter().filter(|dialling| dialling.tls.insecure) {
            tracing::warn!(
                pool = %pool.config.name,
                "insecure_skip_verify: anyone in between can pass for a broker, and read passwords",
            );
        }
    }

    fn publish(&self) {
        self.metrics.set_certificates(self.all());
    }

    /// What it belongs to, that one's name, and the certificate.
    fn all(&self) -> impl Iterator<Item = (&'static str, &str, &CertificateFile)> {
        let listeners = self.listeners.iter().flat_map(|listener| {
            listener.tls.certificates.iter().map(|file| ("listener", &*listener.name, file))
        });
        let pools = self.pools.iter().flat_map(|Dialling { pool, tls }| {
            tls.certificates.iter().map(|file| ("pool", &*pool.config.name, file))
        });
        listeners.chain(pools)
    }
}

fn date(unix: i64) -> String {
    // The formats of certificates end with the year 9999, as dates here do.
    OffsetDateTime::from_unix_timestamp(unix)
        .map_or_else(|_| unix.to_string(), |time| time.date().to_string())
}
