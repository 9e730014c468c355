//! A pool whose clients are refused: the proxy itself asks the brokers, so that who refuses to send
//! it clients meanwhile, such as a balancer in front, need not send any to learn that it serves again.

use std::{
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use super::checks::{Failure, Way, ask, client_id};
use crate::{
    config::{self, ActiveCheck, Probe},
    upstream::{
        broker::Broker,
        discovery::Pace,
        pool::{Followed, Gone, Look, Round},
    },
};

/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest that one broker is waited for, as others wait for their turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the brokers of a pool, one after the other, for as long as its clients are refused. `refusing`
/// is told when that begins.
pub(in crate::upstream) async fn await_recovery(mut followed: Followed, refusing: Arc<Notify>) {
    let run = RandomState::new();
    let mut pace = Pace::new(LONGEST_PAUSE);
    loop {
        let Ok(round) = followed.pool().map(|pool| pool.round()) else { return };
        let Some(round) = round else {
            tokio::select! {
                () = refusing.notified() => {}
                changed = followed.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let pause = match go_round(&followed, &round, &run).await {
            Ok(true) => pace.answered(Duration::ZERO),
            Ok(false) => pace.failed(),
            Err(Gone) => return,
        };
        // Whatever has changed about the brokers is seen to at once.
        tokio::select! {
            () = sleep(pause) => {}
            changed = followed.changed() => if changed.is_err() { return },
        }
    }
}

/// True if a broker answers.
async fn go_round(followed: &Followed, round: &Round, run: &RandomState) -> Result<bool, Gone> {
    let config = followed.pool()?.config();
    let mut errors = Vec::new();
    for (broker, look) in &round.brokers {
        let error = match look {
            Look::Serves => None,
            Look::Closed(why) => Some((*why).to_owned()),
            Look::Ask => match ask_one(&config, round, broker, run).await {
                Ok(()) => None,
                // It says nothing of any broker.
                Err(failure) if failure.is_a_shortage_here() => return Ok(false),
                Err(failure) => Some(failure.to_string()),
            },
        };
        let Some(error) = error else {
            followed.pool()?.round_answered(round, Instant::now());
            return Ok(true);
        };
        errors.push((broker.name.clone(), error));
    }
    followed.pool()?.round_failed(round, &errors, Instant::now());
    Ok(false)
}

/// Asks whether a broker is reached, or whether it answers a CONNECT: the one that its checks send, or
/// else one that it may refuse as it likes.
async fn ask_one(
    config: &config::Pool,
    round: &Round,
    broker: &Broker,
    run: &RandomState,
) -> Result<(), Failure> {
    let any_code =
        || Probe::Mqtt { username: None, password: None, expect: (0..=u8::MAX).collect() };
    let configured = config.health.active.as_ref().map(|check| &check.probe);
    let (probe, timeout) = match configured {
        _ if !round.sends_connect => (Probe::Tcp, config.connect_timeout),
        Some(probe @ Probe::Mqtt { .. }) => (probe.clone(), config.connack_timeout),
        _ => (any_code(), config.connack_timeout),
    };
    let (once, timeout) = (std::num::NonZeroU32::MIN, timeout.min(PATIENCE));
    let check = ActiveCheck { probe, interval: timeout, timeout, fall: once, rise: once };
    let way = Way { header: config.send_proxy_protocol, tls: config.tls.as_ref() };
    let client_id = |at| client_id(run, &config.name, &broker.name, at);
    ask(&check, &broker.endpoint(), way, &client_id).await.outcome
}
