//! Active health checks: every broker of a pool is asked, every so often, whether it is well.

mod http;
mod mqtt;
mod probe;
mod reach;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{Broker, Pool};
use crate::config::ActiveCheck;
use probe::probe;
use reach::Way;

/// How often a pool is looked at for brokers that came or went. Few checks are more frequent, and a
/// look is the load of one number.
const LOOK: Duration = Duration::from_millis(500);

/// Checks the brokers of `pool` as its configuration says, those that are added later too, until
/// they are removed or this is dropped. To be run on the control thread.
///
/// A broker is held to be up until its checks have failed `fall` times in a row, also at the start:
/// a proxy that starts serves at once, and until the checks have found who is down, clients that run
/// into it are offered to the next broker.
///
/// No broker is asked twice at a time. The intervals vary by a tenth, and the first check comes at
/// some point in a tenth of one, so that neither many brokers nor many proxies go in step.
pub async fn watch(pool: Arc<Pool>) {
    let Some(check) = pool.config().health.active.clone().map(Arc::new) else { return };
    // Keyed at random, so that no two proxies, nor two runs of one, call themselves the same.
    let run = RandomState::new();
    let mut checked = HashMap::<Arc<str>, (Arc<Broker>, Task)>::new();
    let mut epoch = None;
    loop {
        if epoch != Some(pool.epoch()) {
            let members = pool.members();
            epoch = Some(members.epoch);
            let keep_or_start = |broker: &Arc<Broker>| match checked.remove(&broker.name) {
                // One of the same name that was away for long may be another.
                Some(same) if Arc::ptr_eq(&same.0, broker) => same,
                _ => {
                    let client_id = client_id(&run, &pool, broker);
                    let checking =
                        check_forever(pool.clone(), broker.clone(), check.clone(), client_id);
                    (broker.clone(), Task(tokio::spawn(checking)))
                }
            };
            let brokers = members.list.iter().map(|member| &member.broker);
            checked = brokers.map(keep_or_start).map(|of| (of.0.name.clone(), of)).collect();
        }
        sleep(LOOK).await;
    }
}

async fn check_forever(
    pool: Arc<Pool>,
    broker: Arc<Broker>,
    check: Arc<ActiveCheck>,
    client_id: String,
) {
    let (name, upstream) = (&pool.name, &broker.name);
    let mut skipping = false;
    sleep(check.interval.mul_f64(0.1 * fastrand::f64())).await;
    loop {
        let next = Instant::now() + check.interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        let config = pool.config();
        let way = Way { header: config.send_proxy_protocol, tls: config.tls.as_ref() };
        let outcome = probe(&check, &broker, way, &client_id).await;
        let word = match &outcome {
            Ok(()) => {
                pool.probed(&broker, Ok(()), Instant::now().into_std());
                "ok"
            }
            Err(error) if error.is_a_shortage_here() => {
                if !skipping {
                    tracing::warn!(
                        pool = %name, %upstream, %error,
                        "not checked, for want of something this host is short of; it is not \
                         taken for down"
                    );
                }
                tracing::debug!(pool = %name, %upstream, %error, "a check was skipped");
                "skipped"
            }
            Err(error) => {
                tracing::debug!(pool = %name, %upstream, %error, "a check has failed");
                pool.probed(&broker, Err(&error.to_string()), Instant::now().into_std());
                if error.is_a_timeout() { "timeout" } else { "failed" }
            }
        };
        broker.metrics.count_check(word);
        skipping = word == "skipped";
        sleep_until(next).await;
    }
}

/// Who an MQTT probe says it is: 22 characters of 0-9a-z, which every broker takes (3.1.1 §3.1.3.1),
/// and which an operator recognizes. No other proxy, pool or broker has the same, as brokers of one
/// cluster would take it for one client.
fn client_id(run: &RandomState, pool: &Pool, broker: &Broker) -> String {
    format!("mqttlb{:016x}", run.hash_one((&pool.name, &broker.name)))
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        config::{self, Config, Probe},
        observe::Metrics,
        upstream::health::probe::Failure,
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
        Arc::new(Pool::new(config, &Metrics::new(), Arc::default()))
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
        let watching = Task(tokio::spawn(watch(pool.clone())));
        let mut of_stays = next_probe(&stays).await;
        let mut of_goes = next_probe(&goes).await;

        pool.set_members(&after.upstreams, &|_| {}, std::time::Instant::now());
        let mut rest = Vec::new();
        of_goes.read_to_end(&mut rest).await.unwrap();
        let mut of_comes = next_probe(&comes).await;
        // The probe that was under way goes on, and is still the only one.
        rest.resize(1024, 0);
        while of_stays.try_read(&mut rest).is_ok_and(|n| n > 0) {}
        let error = of_stays.try_read(&mut rest).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);

        drop(watching);
        of_stays.read_to_end(&mut rest).await.unwrap();
        of_comes.read_to_end(&mut rest).await.unwrap();
    }

    #[tokio::test]
    async fn a_pool_without_checks_is_not_watched() {
        let mut config = pool(&[("b", "127.0.0.1:1".to_owned())]);
        config.health.active = None;
        watch(running(&config)).await;
    }

    #[tokio::test]
    async fn a_unix_socket_has_no_port_for_http() {
        let mut check = pool(&[("b", "127.0.0.1:1".to_owned())]).health.active.unwrap();
        check.probe = Probe::Http { port: 80, path: "/".into(), expect: vec![200], login: None };
        let pool = running(&pool(&[("b", "unix:/run/broker.sock".to_owned())]));
        let outcome = probe(&check, &pool.members().list[0].broker, Way::default(), "").await;
        assert!(matches!(outcome, Err(Failure::NoPort)));
    }
}
