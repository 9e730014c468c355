//! Clients of every kind, good and bad, while the log, DNS, descriptors, brokers and the
//! configuration fail and recover, and other processes take over; at the end every connection is
//! accounted for, in the log and in the metrics.
//!
//! `CHAOS_SECONDS=600 cargo test --test chaos -- --nocapture` for ten minutes; `SEED=n` repeats the
//! order of events. What meets what is up to the machine.

mod clients;
mod faults;
mod ledger;
mod world;

#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../matrix/api.rs"]
mod api;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/broker.rs"]
mod broker;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the tests of the matrix, which use all of it")]
#[path = "../matrix/device.rs"]
mod device;
#[allow(dead_code, reason = "shared with the tests of the matrix, which use all of it")]
#[path = "../matrix/file.rs"]
mod file;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/name_server.rs"]
mod name_server;
#[allow(dead_code, reason = "shared with the tests of the configuration, which use all of it")]
#[path = "../config/tls/pki.rs"]
mod pki;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/proxy_header.rs"]
mod proxy_header;
#[allow(dead_code, reason = "shared with the tests of the matrix, which use all of it")]
#[path = "../matrix/stub.rs"]
mod stub;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/tls_client.rs"]
mod tls_client;

use std::{
    env,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use harness::SetAtEnd;
use world::World;

/// What went wrong, in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Clients at a time.
const CLIENTS: u64 = 24;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn every_connection_is_accounted_for() {
    let seconds = number("CHAOS_SECONDS", 20);
    let seed = number("SEED", 1);
    println!("{seconds} s, seed {seed}");
    let world = World::start();
    let before = world.at_rest();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (world, stop) = (&world, &stop);
            scope.spawn(move || clients::come_and_go(world, seed * CLIENTS + n, stop));
        }
        let _end = SetAtEnd(&stop);
        let until = Instant::now() + Duration::from_secs(seconds);
        faults::befall(&world, seed, until);
    });
    ledger::reconcile(&world, &before);
}
