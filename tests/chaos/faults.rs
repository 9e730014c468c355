//! What befalls the proxy: faults that come, last a while, and go.

use std::{
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{api::Api, harness::wait_for, stub::Behavior, world::World};

/// One fault after the other until then; at the end all is well.
pub(crate) fn befall(world: &World, seed: u64, until: Instant) {
    let mut rng = Rng::with_seed(seed);
    let mut befallen = [0_u32; FAULTS.len()];
    // A short run has an upgrade as well.
    let mut next: Vec<usize> = vec![FAULTS.len() - 1];
    while Instant::now() < until {
        // Each has its turn before any has another.
        if next.is_empty() {
            next = (0..FAULTS.len()).collect();
            rng.shuffle(&mut next);
        }
        let Some(fault) = next.pop() else { continue };
        befallen[fault] += 1;
        FAULTS[fault].1(world, &mut rng, until);
        lull(&mut rng, until, 300);
    }
    for ((name, _), count) in FAULTS.iter().zip(befallen) {
        println!("{count} times {name}");
    }
    world.brokers.iter().for_each(crate::stub::Stub::heal);
}

type Fault = fn(&World, &mut Rng, Instant);

const FAULTS: [(&str, Fault); 9] = [
    ("the log was not read", stuck_log),
    ("the log that drops was not read", stuck_dropping_log),
    ("the name server was away", no_dns),
    ("DNS named a dead address", wrong_dns),
    ("descriptors ran out", few_descriptors),
    ("a broker reset everybody", resetting_broker),
    ("all brokers were silent", silent_brokers),
    ("the configuration changed", reload),
    ("two other processes took over", upgrade),
];

/// A while, up to so many milliseconds, and no longer than until then.
fn lull(rng: &mut Rng, until: Instant, most: u64) {
    let left = until.saturating_duration_since(Instant::now());
    thread::sleep(Duration::from_millis(rng.u64(most / 4..most)).min(left));
}

fn ready(world: &World) -> bool {
    world.proxy.get("/readyz").starts_with("HTTP/1.1 200")
}

/// Long enough for the proxy to say that it is not ready, if clients have filled the queue.
fn stuck_log(world: &World, _: &mut Rng, until: Instant) {
    world.blocking.stuck.store(true, Relaxed);
    let mut blocked = false;
    while !blocked && Instant::now() < until {
        let ready = world.proxy.get("/readyz");
        blocked = ready.starts_with("HTTP/1.1 503") && ready.contains("access log");
        thread::sleep(Duration::from_millis(50));
    }
    if blocked {
        world.proxy.wait_metric("mqtt_lb_access_log_blocked", &["blocking.log"], 1.0);
    }
    world.blocking.stuck.store(false, Relaxed);
    world.proxy.wait_metric("mqtt_lb_access_log_blocked", &["blocking.log"], 0.0);
}

/// Long enough for lines to be lost.
fn stuck_dropping_log(world: &World, _: &mut Rng, until: Instant) {
    let lost = || world.proxy.metric("mqtt_lb_access_log_dropped_total", &[]);
    let before = lost();
    world.dropping.stuck.store(true, Relaxed);
    while lost() < before + 1.0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    world.dropping.stuck.store(false, Relaxed);
}

fn no_dns(world: &World, rng: &mut Rng, until: Instant) {
    world.dns.lock().unwrap().stop();
    lull(rng, until, 3000);
    world.dns.lock().unwrap().restart(&[]);
}

fn wrong_dns(world: &World, rng: &mut Rng, until: Instant) {
    let hosts: &[&str] = match rng.u8(..3) {
        0 => &["127.0.0.99 broker.test"],
        1 => &["127.0.0.99 broker.test", "127.0.0.1 broker.test"],
        _ => &[],
    };
    world.dns.lock().unwrap().set_hosts(hosts);
    lull(rng, until, 3000);
    world.dns.lock().unwrap().set_hosts(&["127.0.0.1 broker.test"]);
}

fn few_descriptors(world: &World, rng: &mut Rng, until: Instant) {
    let pid = Pid::from_raw(world.proxy.id().cast_signed());
    let set = |limit: Rlimit| prlimit(pid, Resource::Nofile, limit).unwrap();
    let few = Some(world.proxy.descriptors() as u64 + rng.u64(..8));
    // The proxy has inherited this process' limits.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = set(Rlimit { current: few, maximum });
    lull(rng, until, 2000);
    set(before);
}

fn resetting_broker(world: &World, rng: &mut Rng, until: Instant) {
    let broker = &world.brokers[rng.usize(..3)];
    broker.behave(Behavior::Reset);
    broker.answer_probes(rng.choice([0, 3]).unwrap());
    lull(rng, until, 3000);
    broker.heal();
}

fn silent_brokers(world: &World, rng: &mut Rng, until: Instant) {
    world.brokers.iter().for_each(|broker| broker.behave(Behavior::Hold));
    lull(rng, until, 3000);
    heal_brokers(world);
}

fn reload(world: &World, rng: &mut Rng, until: Instant) {
    world.reload(true);
    lull(rng, until, 3000);
    world.reload(false);
    wait_for("the proxy to be ready", || ready(world).then_some(()));
}

/// In the midst of other faults: clients that brokers do not answer are left with the process
/// before, whose end nobody waits for, so that more than two may be running.
fn upgrade(world: &World, rng: &mut Rng, until: Instant) {
    world.brokers.iter().for_each(|broker| broker.behave(Behavior::Hold));
    world.blocking.stuck.store(rng.bool(), Relaxed);
    lull(rng, until, 900);
    for _ in 0..2 {
        let pid = Api(world.proxy.admin()).upgrade().unwrap();
        world.proxy.follow(pid);
        lull(rng, until, 900);
    }
    heal_brokers(world);
    world.blocking.stuck.store(false, Relaxed);
}

/// Those that wait for an answer get one.
fn heal_brokers(world: &World) {
    for broker in &world.brokers {
        broker.heal();
        broker.release(Behavior::Good);
    }
}
