//! Active health checks: every broker of a pool is asked, every so often, whether it is well.

mod ask;
mod http;
mod mqtt;
mod probe;
mod reach;

pub(in crate::upstream) use ask::ask;
pub(in crate::upstream) use probe::Failure;
pub(in crate::upstream) use reach::Way;

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    config::{self, ActiveCheck},
    upstream::{
        broker::{Broker, Endpoint},
        pool::{Followed, Gone, Probed},
        task::Task,
    },
};
use ask::Answer;

/// Checks the brokers of a pool as its configuration says, those that are added later too. To be run
/// on the control thread.
///
/// A broker is held to be up until its checks have failed `fall` times in a row, also at the start:
/// a proxy that starts serves at once, and until the checks have found who is down, clients that run
/// into it are offered to the next broker.
///
/// No broker is asked twice at a time. The intervals vary by a tenth, and the first check comes at
/// some point in a tenth of one, so that neither many brokers nor many proxies go in step.
pub(in crate::upstream) async fn check(mut followed: Followed) {
    // Keyed at random, so that no two proxies, nor two runs of one, call themselves the same.
    let run = RandomState::new();
    let mut checked = HashMap::<Arc<str>, (Arc<Broker>, Task)>::new();
    while let Ok(pool) = followed.pool() {
        let members = pool.members();
        let is_on = members.config.health.active.is_some();
        let keep_or_start = |broker: &Arc<Broker>| match checked.remove(&broker.name) {
            // One of the same name that was away for long may be another.
            Some(same) if Arc::ptr_eq(&same.0, broker) => same,
            _ => {
                let checks = Checks {
                    broker: broker.clone(),
                    run: run.clone(),
                    followed: followed.clone(),
                    skipping: false,
                    dead: Vec::new(),
                };
                (broker.clone(), Task::spawn(checks.run()))
            }
        };
        let brokers = members.list.iter().filter(|_| is_on).map(|member| &member.broker);
        checked = brokers.map(keep_or_start).map(|of| (of.0.name.clone(), of)).collect();
        drop((pool, members));
        if followed.changed().await.is_err() {
            return;
        }
    }
}

/// The checks of one broker.
struct Checks {
    broker: Arc<Broker>,
    run: RandomState,
    followed: Followed,
    /// Whether the last check was skipped, which has been said then.
    skipping: bool,
    /// The addresses that did not answer while others did, which has been said then.
    dead: Vec<SocketAddr>,
}

/// What is asked, and where.
struct Question {
    config: Arc<config::Pool>,
    check: ActiveCheck,
    endpoint: Arc<Endpoint>,
}

impl Checks {
    async fn run(mut self) {
        // It ends with the pool.
        let Err(Gone) = self.ask_again_and_again().await;
    }

    async fn ask_again_and_again(&mut self) -> Result<Infallible, Gone> {
        // The next check is due so many intervals after that time.
        let (mut since, mut intervals) = (Instant::now(), 0.1 * fastrand::f64());
        loop {
            let Some(question) = self.question()? else {
                self.followed.changed().await?;
                continue;
            };
            let due = since + question.check.interval.mul_f64(intervals);
            tokio::select! {
                () = sleep_until(due) => {}
                changed = self.followed.changed() => {
                    changed?;
                    continue;
                }
            }
            since = Instant::now();
            intervals = 0.9 + 0.2 * fastrand::f64();
            if !self.ask(&question).await? {
                intervals = 0.1 * fastrand::f64();
            }
        }
    }

    /// Asks once; false if the question was given up, as it is another one by now.
    async fn ask(&mut self, question: &Question) -> Result<bool, Gone> {
        let Question { config, check, endpoint } = question;
        let way = Way { header: config.send_proxy_protocol, tls: config.tls.as_ref() };
        let began = std::time::Instant::now();
        let name = self.followed.pool()?.name.clone();
        let (run, broker) = (self.run.clone(), self.broker.name.clone());
        let client_id = move |at: Option<SocketAddr>| client_id(&run, &name, &broker, at);
        let answer = {
            let mut asking = std::pin::pin!(ask(check, endpoint, way, &client_id));
            loop {
                tokio::select! {
                    answer = asking.as_mut() => break answer,
                    changed = self.followed.changed() => {
                        changed?;
                        if !self.question()?.is_some_and(|now| now.is(question)) {
                            return Ok(false);
                        }
                    }
                }
            }
        };
        let word = self.report(question, began, &answer.outcome)?;
        for (address, _) in &answer.dead {
            endpoint.avoid(*address);
        }
        self.say_who_is_dead(&answer)?;
        self.broker.metrics.count_check(word);
        Ok(true)
    }

    /// Tells the pool what came of a check; the word that it is counted by.
    fn report(
        &mut self,
        question: &Question,
        began: std::time::Instant,
        outcome: &Result<(), Failure>,
    ) -> Result<&'static str, Gone> {
        let pool = self.followed.pool()?;
        let (name, upstream) = (&pool.name, &self.broker.name);
        let was_skipping = std::mem::take(&mut self.skipping);
        let word = match outcome {
            Ok(()) => "ok",
            Err(error) if error.is_a_shortage_here() => {
                if !was_skipping {
                    tracing::warn!(
                        pool = %name, %upstream, %error,
                        "health check skipped: out of local ports, descriptors or memory; state \
                         unchanged"
                    );
                }
                tracing::debug!(pool = %name, %upstream, %error, "a check was skipped");
                self.skipping = true;
                return Ok("skipped");
            }
            Err(error) => {
                tracing::debug!(pool = %name, %upstream, %error, "a check has failed");
                if error.is_a_timeout() { "timeout" } else { "failed" }
            }
        };
        let error = outcome.as_ref().err().map(ToString::to_string);
        let probed = Probed {
            broker: &self.broker,
            endpoint: &question.endpoint,
            check: &question.check,
            began,
            outcome: error.as_deref().map_or(Ok(()), Err),
        };
        pool.probed(&probed, std::time::Instant::now());
        Ok(word)
    }

    /// Tells the operator which addresses do not answer while others do, when that changes.
    fn say_who_is_dead(&mut self, answer: &Answer) -> Result<(), Gone> {
        let dead: Vec<_> = answer.dead.iter().map(|(address, _)| *address).collect();
        let is_news =
            dead.len() != self.dead.len() || !dead.iter().all(|it| self.dead.contains(it));
        if answer.outcome.is_err() || !is_news {
            return Ok(());
        }
        let pool = self.followed.pool()?;
        let (pool, upstream) = (&pool.name, &self.broker.name);
        if dead.is_empty() {
            tracing::info!(%pool, %upstream, "all of its addresses answer their checks again");
        } else {
            let show = |(address, failure): &(_, _)| format!("{address}: {failure}");
            let dead: Vec<_> = answer.dead.iter().map(show).collect();
            let dead = dead.join("; ");
            tracing::warn!(
                %pool, %upstream, dead,
                "up, though some of its addresses fail their checks: clients try the others first"
            );
        }
        self.dead = dead;
        Ok(())
    }

    /// What is to be asked now; `None` where nothing is.
    fn question(&self) -> Result<Option<Question>, Gone> {
        let config = self.followed.pool()?.config();
        let endpoint = self.broker.endpoint();
        let check = config.health.active.clone();
        Ok(check.map(|check| Question { config, check, endpoint }))
    }
}

impl Question {
    fn is(&self, other: &Self) -> bool {
        self.check.probe == other.check.probe && Arc::ptr_eq(&self.endpoint, &other.endpoint)
    }
}

/// Who an MQTT probe says it is: 22 characters of 0-9a-z, which every broker takes (3.1.1 §3.1.3.1),
/// and which an operator recognizes. No other proxy, pool, broker or address has the same, as brokers
/// of one cluster would take it for one client.
pub(in crate::upstream) fn client_id(
    run: &RandomState,
    pool: &str,
    broker: &str,
    at: Option<SocketAddr>,
) -> String {
    format!("mqttlb{:016x}", run.hash_one((pool, broker, at)))
}

#[cfg(test)]
mod tests;
