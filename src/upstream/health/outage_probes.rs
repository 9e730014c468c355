//! The probes during an outage: while clients of a pool are refused, the proxy itself probes the
//! brokers. A load balancer in front, which may send no clients during the outage, thus learns when
//! the pool serves again.

use std::{
    hash::RandomState,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use super::checks::{CheckTransport, ProbeError, client_id, probe_broker};
use crate::{
    config::{self, ActiveCheck, Probe},
    upstream::{
        broker::Broker,
        discovery::LookupBackoff,
        pool::{PoolDropped, PoolFollower, RecoveryRound, RecoveryStep},
    },
};

/// The longest pause between two rounds.
const MAX_ROUND_PAUSE: Duration = Duration::from_secs(10);

/// The time limit for one broker, since the others have to wait for it.
const MAX_PROBE_TIME: Duration = Duration::from_secs(5);

/// Probes the brokers of a pool, one after the other, while its clients are refused. `due` is
/// notified when an outage begins.
pub(in crate::upstream) async fn probe_outages(mut follower: PoolFollower, due: Arc<Notify>) {
    let run = RandomState::new();
    let mut backoff = LookupBackoff::new(MAX_ROUND_PAUSE);
    loop {
        let Ok(round) = follower.pool().map(|pool| pool.recovery_round()) else { return };
        let Some(round) = round else {
            tokio::select! {
                () = due.notified() => {}
                changed = follower.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let pause = match run_round(&follower, &round, &run).await {
            Ok(true) => backoff.after_answer(Duration::ZERO),
            Ok(false) => backoff.after_failure(),
            Err(PoolDropped) => return,
        };
        // A change of the brokers or the configuration starts a new round at once.
        tokio::select! {
            () = sleep(pause) => {}
            changed = follower.changed() => if changed.is_err() { return },
        }
    }
}

/// Probes all brokers once; true if a broker answers.
async fn run_round(
    follower: &PoolFollower,
    round: &RecoveryRound,
    run: &RandomState,
) -> Result<bool, PoolDropped> {
    let config = follower.pool()?.config();
    let mut errors = Vec::new();
    for (broker, step) in &round.brokers {
        let error = match step {
            RecoveryStep::Serves => None,
            RecoveryStep::Closed(why) => Some((*why).to_owned()),
            RecoveryStep::Probe => match probe_one(&config, round, broker, run).await {
                Ok(()) => None,
                // A shortage of this host says nothing about any broker.
                Err(error) if error.is_local_shortage() => return Ok(false),
                Err(error) => Some(error.to_string()),
            },
        };
        let Some(error) = error else {
            follower.pool()?.recovery_succeeded(round, Instant::now());
            return Ok(true);
        };
        errors.push((broker.name.clone(), error));
    }
    follower.pool()?.recovery_failed(round, &errors, Instant::now());
    Ok(false)
}

/// Probes whether a broker can be reached, or whether it answers a CONNECT: either the CONNECT of
/// its checks, or one that it may refuse with any code.
async fn probe_one(
    config: &config::Pool,
    round: &RecoveryRound,
    broker: &Broker,
    run: &RandomState,
) -> Result<(), ProbeError> {
    let any_code =
        || Probe::Mqtt { username: None, password: None, expect: (0..=u8::MAX).collect() };
    let configured = config.health.active.as_ref().map(|check| &check.probe);
    let (probe, timeout) = match configured {
        _ if !round.sends_connect => (Probe::Tcp, config.connect_timeout),
        Some(probe @ Probe::Mqtt { .. }) => (probe.clone(), config.connack_timeout),
        _ => (any_code(), config.connack_timeout),
    };
    let (once, timeout) = (NonZeroU32::MIN, timeout.min(MAX_PROBE_TIME));
    let check = ActiveCheck { probe, interval: timeout, timeout, fall: once, rise: once };
    let client_id = |at| client_id(run, &config.name, &broker.name, at);
    let transport = CheckTransport::of_pool(config);
    probe_broker(&check, &broker.endpoint(), transport, &client_id).await.outcome
}
