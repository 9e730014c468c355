//! Active health checks: every broker of a pool is asked, every so often, whether it is well.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::time::{Instant, sleep_until};

use super::{
    probe::{Failure, probe},
    reach::Way,
};
use crate::{
    config::{self, ActiveCheck},
    upstream::{
        broker::{Broker, Endpoint},
        pool::{Followed, Gone, Pool, Probed},
        task::Task,
    },
};

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
                    client_id: client_id(&run, &pool, broker),
                    followed: followed.clone(),
                    skipping: false,
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
    client_id: String,
    followed: Followed,
    /// Whether the last check was skipped, which has been said then.
    skipping: bool,
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
        let outcome = {
            let probing = probe(check, endpoint, way, &self.client_id);
            let mut probing = std::pin::pin!(probing);
            loop {
                tokio::select! {
                    outcome = probing.as_mut() => break outcome,
                    changed = self.followed.changed() => {
                        changed?;
                        if !self.question()?.is_some_and(|now| now.is(question)) {
                            return Ok(false);
                        }
                    }
                }
            }
        };
        let word = self.report(question, began, &outcome)?;
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
/// and which an operator recognizes. No other proxy, pool or broker has the same, as brokers of one
/// cluster would take it for one client.
fn client_id(run: &RandomState, pool: &Pool, broker: &Broker) -> String {
    format!("mqttlb{:016x}", run.hash_one((&pool.name, &broker.name)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
        sync::{mpsc, watch},
    };

    use super::*;
    use crate::{
        config::{self, Config, Probe},
        observe::Metrics,
        upstream::Resolver,
    };

    /// A pool of brokers that are asked, and would have an hour to answer.
    fn pool(brokers: &[(&str, String)]) -> config::Pool {
        let upstream = |(name, address): &(&str, String)| {
            format!("{{ name: {name}, address: \"{address}\" }}")
        };
        let upstreams: Vec<_> = brokers.iter().map(upstream).collect();
        let text = format!(
            "listeners: [ {{ name: mqtt, bind: \"127.0.0.1:0\", pool: p }} ]\n\
             pools: [ {{ name: p, upstreams: [ {} ], health: {{ active: \
             {{ type: mqtt, interval: 100ms, timeout: 1h }} }} }} ]",
            upstreams.join(", ")
        );
        Config::parse(&text, Path::new("test.yaml"), &|_| None).unwrap().pools.remove(0)
    }

    fn running(config: &config::Pool) -> Arc<Pool> {
        let pool = Arc::new(Pool::new(config, &Metrics::new(), Arc::default()));
        let resolver =
            watch::Sender::new(Arc::new(Resolver::new(&config::Dns { servers: Vec::new() })));
        pool.start(&resolver.subscribe(), &mpsc::channel(1).0);
        pool
    }

    async fn next_probe(listener: &TcpListener) -> TcpStream {
        let (mut probe, _) = listener.accept().await.unwrap();
        assert_eq!(probe.read_u8().await.unwrap(), 0x10);
        probe
    }

    #[tokio::test]
    async fn brokers_that_come_and_go() {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (stays, goes, comes) =
            (listen().await.unwrap(), listen().await.unwrap(), listen().await.unwrap());
        let at = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let before = pool(&[("stays", at(&stays)), ("goes", at(&goes))]);
        let after = pool(&[("comes", at(&comes)), ("stays", at(&stays))]);
        let pool = running(&before);
        let mut of_stays = next_probe(&stays).await;
        let mut of_goes = next_probe(&goes).await;

        pool.reconfigure(&after, &|_| {}, std::time::Instant::now());
        let mut rest = Vec::new();
        of_goes.read_to_end(&mut rest).await.unwrap();
        let mut of_comes = next_probe(&comes).await;
        // The probe that was under way goes on, and is still the only one.
        rest.resize(1024, 0);
        while of_stays.try_read(&mut rest).is_ok_and(|n| n > 0) {}
        let error = of_stays.try_read(&mut rest).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);

        drop(pool);
        of_stays.read_to_end(&mut rest).await.unwrap();
        of_comes.read_to_end(&mut rest).await.unwrap();
    }

    /// Whatever a reload changes about it, a check under way is given up and the next one is right.
    #[tokio::test]
    async fn another_question_is_asked_at_once() {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (here, there) = (listen().await.unwrap(), listen().await.unwrap());
        let at = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let (before, after) = (pool(&[("b", at(&here))]), pool(&[("b", at(&there))]));
        let pool = running(&before);
        let reconfigure = |config| pool.reconfigure(config, &|_| {}, std::time::Instant::now());
        let mut rest = Vec::new();

        let mut elsewhere = next_probe(&here).await;
        reconfigure(&after);
        elsewhere.read_to_end(&mut rest).await.unwrap();
        let mut off = next_probe(&there).await;
        let mut without = after.clone();
        without.health.active = None;
        reconfigure(&without);
        off.read_to_end(&mut rest).await.unwrap();
        reconfigure(&after);
        let mut on = next_probe(&there).await;
        let mut other = after.clone();
        let probe = Probe::Mqtt { username: Some("u".into()), password: None, expect: vec![0] };
        other.health.active.as_mut().unwrap().probe = probe;
        reconfigure(&other);
        on.read_to_end(&mut rest).await.unwrap();
        next_probe(&there).await;
    }

    #[tokio::test]
    async fn a_unix_socket_has_no_port_for_http() {
        let mut check = pool(&[("b", "127.0.0.1:1".to_owned())]).health.active.unwrap();
        check.probe = Probe::Http { port: 80, path: "/".into(), expect: vec![200], login: None };
        let config = pool(&[("b", "unix:/run/broker.sock".to_owned())]);
        let pool = Pool::new(&config, &Metrics::new(), Arc::default());
        let outcome =
            probe(&check, &pool.members().list[0].broker.endpoint(), Way::default(), "").await;
        assert!(matches!(outcome, Err(Failure::NoPort)));
    }
}
