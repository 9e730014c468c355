use std::path::Path;

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

use super::*;
use crate::{
    config::{self, Config, Probe},
    metrics::Metrics,
    upstream::{discovery::Resolver, pool::Pool, start_pool_tasks},
};

/// A pool whose probes may take up to an hour.
fn pool(brokers: &[(&str, String)]) -> config::Pool {
    let upstream =
        |(name, address): &(&str, String)| format!("{{ name: {name}, address: \"{address}\" }}");
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
    start_pool_tasks(&pool, &resolver.subscribe(), &mpsc::channel(1).0);
    pool
}

async fn next_probe(listener: &TcpListener) -> TcpStream {
    let (mut probe, _) = listener.accept().await.unwrap();
    assert_eq!(probe.read_u8().await.unwrap(), 0x10);
    probe
}

#[tokio::test]
async fn brokers_that_are_added_and_removed() {
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
    // The running probe continues, and is still the only one.
    rest.resize(1024, 0);
    while of_stays.try_read(&mut rest).is_ok_and(|n| n > 0) {}
    let error = of_stays.try_read(&mut rest).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);

    drop(pool);
    of_stays.read_to_end(&mut rest).await.unwrap();
    of_comes.read_to_end(&mut rest).await.unwrap();
}

/// Whatever a reload changes about a check, the running probe is aborted and the next one is right.
#[tokio::test]
async fn a_changed_check_probes_at_once() {
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
async fn http_checks_need_a_port() {
    let mut check = pool(&[("b", "127.0.0.1:1".to_owned())]).health.active.unwrap();
    check.probe = Probe::Http { port: 80, path: "/".into(), expect: vec![200], login: None };
    let config = pool(&[("b", "unix:/run/broker.sock".to_owned())]);
    let pool = Pool::new(&config, &Metrics::new(), Arc::default());
    let endpoint = pool.members().list[0].broker.endpoint();
    let result =
        probe_broker(&check, &endpoint, CheckTransport::default(), &|_| String::new()).await;
    assert!(matches!(result.outcome, Err(ProbeError::UnixSocket)));
}
