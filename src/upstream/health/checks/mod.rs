//! Active health checks: each broker of a pool is probed at an interval.

mod broker_probe;
mod connect;
mod error;
mod http;
mod mqtt;
mod probe;

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::Instant as StdInstant,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    config::{self, ActiveCheck},
    upstream::{
        broker::{Broker, Endpoint},
        pool::{PoolDropped, PoolFollower, ProbeResult},
        task::AbortOnDrop,
    },
};
use broker_probe::BrokerProbeResult;
pub(crate) use broker_probe::probe_broker;
pub(crate) use connect::CheckTransport;
pub(crate) use error::ProbeError;

/// Checks the brokers of a pool as configured, including brokers that are added later. Has to run
/// on the control thread.
///
/// A broker counts as up until its checks have failed `fall` times in a row, even at the start: a
/// proxy serves as soon as it starts, and until the checks have found the brokers that are down,
/// clients sent to one of those are offered to the next broker.
///
/// Only one probe of a broker runs at a time. The intervals vary by a tenth, and the first check
/// runs within a tenth of an interval, so that many brokers and many proxies do not probe in step.
pub(in crate::upstream) async fn check(mut follower: PoolFollower) {
    // Keyed at random, so that no two proxies, nor two runs of one proxy, use the same client IDs.
    let run = RandomState::new();
    let mut checked = HashMap::<Arc<str>, (Arc<Broker>, AbortOnDrop)>::new();
    while let Ok(pool) = follower.pool() {
        let members = pool.members();
        let is_on = members.config.health.active.is_some();
        let keep_or_start = |broker: &Arc<Broker>| match checked.remove(&broker.name) {
            // A broker that returns under the same name after a long time may be a different one.
            Some(same) if Arc::ptr_eq(&same.0, broker) => same,
            _ => {
                let checks = BrokerChecks {
                    broker: broker.clone(),
                    run: run.clone(),
                    follower: follower.clone(),
                    skipping: false,
                    failed: Vec::new(),
                };
                (broker.clone(), AbortOnDrop::spawn(checks.run()))
            }
        };
        let brokers = members.list.iter().filter(|_| is_on).map(|member| &member.broker);
        checked = brokers.map(keep_or_start).map(|of| (of.0.name.clone(), of)).collect();
        drop((pool, members));
        if follower.changed().await.is_err() {
            return;
        }
    }
}

/// The checks of one broker.
struct BrokerChecks {
    broker: Arc<Broker>,
    run: RandomState,
    follower: PoolFollower,
    /// Whether the last check was skipped; only the first skip in a row is logged.
    skipping: bool,
    /// The addresses that failed while others passed; logged when they change.
    failed: Vec<SocketAddr>,
}

/// The settings of one check.
struct CheckSettings {
    config: Arc<config::Pool>,
    check: ActiveCheck,
    endpoint: Arc<Endpoint>,
}

impl BrokerChecks {
    async fn run(mut self) {
        // Ends when the pool is dropped.
        let Err(PoolDropped) = self.check_at_intervals().await;
    }

    async fn check_at_intervals(&mut self) -> Result<Infallible, PoolDropped> {
        // The next check is due `intervals` intervals after `since`.
        let (mut since, mut intervals) = (Instant::now(), 0.1 * fastrand::f64());
        loop {
            let Some(settings) = self.settings()? else {
                self.follower.changed().await?;
                continue;
            };
            let due = since + settings.check.interval.mul_f64(intervals);
            tokio::select! {
                () = sleep_until(due) => {}
                changed = self.follower.changed() => {
                    changed?;
                    continue;
                }
            }
            since = Instant::now();
            intervals = 0.9 + 0.2 * fastrand::f64();
            if !self.check_once(&settings).await? {
                intervals = 0.1 * fastrand::f64();
            }
        }
    }

    /// Probes the broker once; false if the probe was aborted because the settings changed.
    async fn check_once(&mut self, settings: &CheckSettings) -> Result<bool, PoolDropped> {
        let CheckSettings { config, check, endpoint } = settings;
        let transport = CheckTransport::of_pool(config);
        let began = StdInstant::now();
        let name = self.follower.pool()?.name.clone();
        let (run, broker) = (self.run.clone(), self.broker.name.clone());
        let client_id = move |at: Option<SocketAddr>| client_id(&run, &name, &broker, at);
        let result = {
            let mut probe = std::pin::pin!(probe_broker(check, endpoint, transport, &client_id));
            loop {
                tokio::select! {
                    result = probe.as_mut() => break result,
                    changed = self.follower.changed() => {
                        changed?;
                        if !self.settings()?.is_some_and(|now| now.is_same_probe(settings)) {
                            return Ok(false);
                        }
                    }
                }
            }
        };
        let label = self.record(settings, began, &result.outcome)?;
        for (address, _) in &result.failed {
            endpoint.avoid(*address);
        }
        self.log_failed_addresses(&result)?;
        self.broker.metrics.count_check(label);
        Ok(true)
    }

    /// Passes the result of a check to the pool; returns the metric label under which it is
    /// counted.
    fn record(
        &mut self,
        settings: &CheckSettings,
        began: StdInstant,
        outcome: &Result<(), ProbeError>,
    ) -> Result<&'static str, PoolDropped> {
        let pool = self.follower.pool()?;
        let (name, upstream) = (&pool.name, &self.broker.name);
        let was_skipping = std::mem::take(&mut self.skipping);
        let label = match outcome {
            Ok(()) => "ok",
            Err(error) if error.is_local_shortage() => {
                if !was_skipping {
                    tracing::warn!(
                        pool = %name, %upstream, %error,
                        "health check skipped: out of local ports, descriptors or memory; state \
                         unchanged"
                    );
                }
                tracing::debug!(pool = %name, %upstream, %error, "skipped a health check");
                self.skipping = true;
                return Ok("skipped");
            }
            Err(error) => {
                tracing::debug!(pool = %name, %upstream, %error, "health check failed");
                if error.is_timeout() { "timeout" } else { "failed" }
            }
        };
        let error = outcome.as_ref().err().map(ToString::to_string);
        let result = ProbeResult {
            broker: &self.broker,
            endpoint: &settings.endpoint,
            check: &settings.check,
            began,
            outcome: error.as_deref().map_or(Ok(()), Err),
        };
        pool.record_probe(&result, StdInstant::now());
        Ok(label)
    }

    /// Logs which addresses fail while others pass, when that set changes.
    fn log_failed_addresses(&mut self, result: &BrokerProbeResult) -> Result<(), PoolDropped> {
        let failed: Vec<_> = result.failed.iter().map(|(address, _)| *address).collect();
        let is_changed = failed.len() != self.failed.len()
            || !failed.iter().all(|address| self.failed.contains(address));
        if result.outcome.is_err() || !is_changed {
            return Ok(());
        }
        let pool = self.follower.pool()?;
        let (pool, upstream) = (&pool.name, &self.broker.name);
        if failed.is_empty() {
            tracing::info!(%pool, %upstream, "all of its addresses pass their checks again");
        } else {
            let show = |(address, error): &(_, _)| format!("{address}: {error}");
            let dead: Vec<_> = result.failed.iter().map(show).collect();
            let dead = dead.join("; ");
            tracing::warn!(
                %pool, %upstream, dead,
                "up, though some of its addresses fail their checks: clients try the others first"
            );
        }
        self.failed = failed;
        Ok(())
    }

    /// The settings in force; `None` if there are no checks.
    fn settings(&self) -> Result<Option<CheckSettings>, PoolDropped> {
        let config = self.follower.pool()?.config();
        let endpoint = self.broker.endpoint();
        let check = config.health.active.clone();
        Ok(check.map(|check| CheckSettings { config, check, endpoint }))
    }
}

impl CheckSettings {
    fn is_same_probe(&self, other: &Self) -> bool {
        self.check.probe == other.check.probe && Arc::ptr_eq(&self.endpoint, &other.endpoint)
    }
}

/// The client ID of an MQTT probe: 22 characters of 0-9a-z, which every broker accepts (3.1.1
/// §3.1.3.1) and operators recognize. It is unique per proxy, pool, broker and address, because the
/// brokers of a cluster would take equal IDs for one client.
pub(crate) fn client_id(
    run: &RandomState,
    pool: &str,
    broker: &str,
    at: Option<SocketAddr>,
) -> String {
    format!("mqttlb{:016x}", run.hash_one((pool, broker, at)))
}

#[cfg(test)]
mod tests;
