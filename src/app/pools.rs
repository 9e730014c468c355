//! What pools need as time passes, on the control thread: look-ups in DNS, checks, admission.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    config::{self, Address, Dns},
    snapshot::Snapshot,
    transport::check_source,
    upstream::{self, Addresses, Broker, Discovery, HostName, PATIENCE, Pool, Refresh, Resolver},
};

/// How late the end of an ejection or of a slow start may be seen.
const TICK: Duration = Duration::from_millis(100);

/// How often those who wait at brokers' doors are let in: what a client does not notice, and at
/// 500 a second still only two or three at a time.
const ADMIT: Duration = Duration::from_millis(5);

/// The pools that are looked after.
pub(super) struct Care {
    resolver: Arc<Resolver>,
    /// Of a pool that is not there any more, the tasks end.
    tasks: HashMap<Arc<str>, JoinSet<()>>,
}

impl Care {
    pub(super) fn new(dns: &Dns) -> Self {
        Self { resolver: Arc::new(Resolver::new(dns)), tasks: HashMap::new() }
    }

    /// Asks others from now on; pools that are looked after already are to be begun anew.
    pub(super) fn set_dns(&mut self, dns: &Dns) {
        self.resolver = Arc::new(Resolver::new(dns));
    }

    /// Looks after `pools`, those that it knows anew. Waits for the first answers of DNS, but not for
    /// long: a DNS server that is away must not keep clients from the brokers that are known.
    pub(super) async fn begin(&mut self, pools: &[Arc<Pool>]) {
        // Each task has a sender until its first look-up is over.
        let (pending, mut all_looked_up) = mpsc::channel(1);
        for pool in pools {
            let tasks = tasks_of(pool, &self.resolver, &pending);
            self.tasks.insert(pool.name.clone(), tasks);
        }
        drop(pending);
        let _ = timeout(PATIENCE, all_looked_up.recv()).await;
    }

    /// The same without waiting.
    pub(super) fn begin_anew(&mut self, pool: &Arc<Pool>) {
        let (pending, _) = mpsc::channel(1);
        self.tasks.insert(pool.name.clone(), tasks_of(pool, &self.resolver, &pending));
    }

    pub(super) fn end(&mut self, pool: &str) {
        self.tasks.remove(pool);
    }

    /// Begins to look up the hosts of `config` that `pool` does not know yet, so that they can be
    /// reached when they become its brokers.
    pub(super) fn look_up(&self, pool: &Pool, config: &config::Pool, look_ups: &mut LookUps) {
        let members = pool.members();
        let known: HashSet<_> =
            members.list.iter().map(|member| host_of(&member.broker.address)).collect();
        let hosts = config.upstreams.iter().map(|upstream| host_of(&upstream.address));
        for host in hosts.filter(|host| !known.contains(host)).flatten().collect::<HashSet<_>>() {
            let (resolver, host) = (self.resolver.clone(), host.clone());
            look_ups.0.spawn(async move {
                let addresses = resolver.addresses(&host).await.ok()?;
                Some((host, addresses))
            });
        }
    }
}

fn host_of(address: &Address) -> Option<&Arc<str>> {
    match address {
        Address::Host(host, _) => Some(host),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

/// Look-ups that are under way.
#[derive(Default)]
pub(super) struct LookUps(JoinSet<Option<(Arc<str>, Addresses)>>);

/// Hosts that were found.
pub(super) struct Hosts(HashMap<Arc<str>, Addresses>);

impl LookUps {
    /// Waits for all of them, and for none longer than the resolver does.
    pub(super) async fn hosts(mut self) -> Hosts {
        let mut hosts = HashMap::new();
        while let Some(looked_up) = self.0.join_next().await {
            hosts.extend(looked_up.ok().flatten());
        }
        Hosts(hosts)
    }
}

impl Hosts {
    /// Tells a broker its address, where it does not know it.
    pub(super) fn tell(&self, broker: &Broker) {
        if let Address::Host(host, port) = &broker.address
            && broker.target().is_none()
            && let Some(ip) = self.0.get(host).and_then(|addresses| addresses.pick(None))
        {
            broker.set_resolved(SocketAddr::new(ip, *port));
        }
    }
}

fn tasks_of(pool: &Arc<Pool>, resolver: &Arc<Resolver>, pending: &mpsc::Sender<()>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let members = pool.members();
    for member in members.list.iter().take(members.config.upstreams.len()) {
        if let Some(host) = HostName::new(&pool.name, &member.broker, resolver) {
            tasks.spawn(keep(host, pending.clone()));
        }
    }
    if let Some(discovery) = Discovery::new(pool, resolver) {
        tasks.spawn(keep(discovery, pending.clone()));
    }
    if members.config.admission.is_some() {
        tasks.spawn(admit(pool.clone()));
    }
    if members.config.health.active.is_some() {
        tasks.spawn(upstream::watch(pool.clone()));
    }
    tasks
}

async fn keep(mut subject: impl Refresh, pending: mpsc::Sender<()>) {
    let mut pause = subject.refresh().await;
    drop(pending);
    loop {
        sleep(pause).await;
        pause = subject.refresh().await;
    }
}

/// Warns of addresses to dial from that this host does not have. It may be given them later.
pub(super) fn check_sources(pool: &config::Pool) {
    for source in &pool.source_addresses {
        if let Err(error) = check_source(*source) {
            tracing::warn!(
                pool = %pool.name, %source, %error,
                "source_addresses has one that cannot be dialled from; the others are used"
            );
        }
    }
}

/// Ends what ends with time: ejections, slow starts, what is known of brokers that are gone.
pub(super) async fn tick(current: Arc<ArcSwap<Snapshot>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = current.load_full();
        for pool in snapshot.pools.iter().chain(&snapshot.retired) {
            pool.tick(Instant::now());
        }
    }
}

/// Lets in who waits at the doors of a pool's brokers.
async fn admit(pool: Arc<Pool>) {
    loop {
        pool.queued().await;
        while pool.release(Instant::now()) {
            sleep(ADMIT).await;
        }
    }
}
