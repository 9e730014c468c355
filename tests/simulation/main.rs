//! A fleet of proxies in virtual time: what moves when brokers fail, return, come and go. The
//! choices are the product's own; what is simulated is who dies and reconnects when.

#![allow(clippy::too_many_lines, reason = "tables of cases, and scenes told in one piece")]

mod policy_fleet;
mod proxy;
mod rules;
mod scenario;
mod table;
mod world;

use std::{ops::Range, thread};

use mqtt_lb::testing::upstream::BrokerState;

use proxy::BrokerId;
use scenario::{Row, Scale, Scenario};
use table::Bounds;
use world::{STEPS_PER_SECOND, World, pool};

const FULL: Scale = Scale { proxies: 20, clients: 1_000_000 };
/// As many clients a proxy as in the full one.
const QUARTER: Scale = Scale { proxies: 5, clients: 250_000 };
const SMALL: Scale = Scale { proxies: 5, clients: 10_000 };

const SEED: u64 = 1883;
const BROKERS: Range<BrokerId> = 0..50;
const WITH_ADDED: Range<BrokerId> = 0..60;

const CONFIG: &str = "\
slow_start: 30s
    rebalance: { rate: 50 }
    health: { active: { type: tcp } }";

#[test]
fn the_manual_has_the_numbers() {
    let ids = client_ids(FULL.clients);
    let usernames = usernames(QUARTER.clients);
    let (failures, changes, bounds) = thread::scope(|scope| {
        let changes = scope.spawn(|| changes(FULL, &ids));
        let bounds =
            scope.spawn(|| [bounds(QUARTER, &ids[..QUARTER.clients]), bounds(QUARTER, &usernames)]);
        (failures(FULL, &ids), changes.join().unwrap(), bounds.join().unwrap())
    });
    let events = table::events(failures.iter().chain(&changes));
    let rules = table::rules(&rules::rows(rules::FULL));
    let tables = format!("{events}\n{}\n{rules}", table::bounds(&bounds));
    println!("{tables}");
    assert_eq!(table::in_manual(), tables, "mqtt-lb-ops.7.md differs from the simulation");
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let keys = client_ids(SMALL.clients);
    assert_eq!(failures(SMALL, &keys), failures(SMALL, &keys));
    assert_eq!(changes(SMALL, &keys), changes(SMALL, &keys));
    assert_eq!(rules::rows(rules::SMALL), rules::rows(rules::SMALL));
}

/// An ID that a proxy assigned is a key like any other: 22 random characters, which the client sends
/// from its second CONNECT on, through any proxy.
#[test]
fn clients_with_assigned_ids() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut id = || std::iter::repeat_with(|| random.alphanumeric()).take(22).collect();
    let keys: Vec<String> = (0..SMALL.clients).map(|_| id()).collect();
    // The assertions of both are what is tested.
    assert_eq!(failures(SMALL, &keys).len() + changes(SMALL, &keys).len(), 10);
}

/// Brokers fail and return.
fn failures(scale: Scale, keys: &[String]) -> Vec<Row> {
    let all = serving(BROKERS, &[]);
    let mut fleet = fleet(scale, keys);
    let start = fleet.event(
        "All clients connect, within 10 s",
        &all,
        at_once(|world| world.connect_all(10)),
    );
    let at_first = fleet.homes.clone();
    assert!(fleet.world.places() == at_first);
    assert_eq!((start.ended, start.refused), (0, 0));

    let without_7 = serving(BROKERS, &[7]);
    let died = fleet.event("A broker dies", &without_7, at_once(|world| world.kill(7)));
    let its_own = belonging(&at_first, &[7]);
    assert_eq!((died.moved, died.needless, died.refused), (its_own, 0, 0));
    assert_eq!(died.ended as usize, its_own);
    assert!(fleet.world.places() == fleet.homes);

    fleet.world.rebalances = false;
    let stays =
        fleet.event("It returns, without `rebalance`", &all, at_once(|world| world.revive(7)));
    assert_eq!((stays.moved, stays.needless, stays.refused), (its_own, 0, 0));
    assert_eq!(stays.ended, 0);
    assert!(fleet.homes == at_first && fleet.world.places() != at_first);
    fleet.world.rebalances = true;

    let storm = fleet.event(
        "All sessions break; the clients return within 10 s",
        &all,
        at_once(|world| {
            world.disconnect_all();
            world.connect_all(10);
        }),
    );
    assert_eq!((storm.moved, storm.ended, storm.refused), (0, scale.clients as u32, 0));
    assert!(fleet.world.places() == at_first);

    let five = [1, 12, 23, 34, 45];
    let their_own = belonging(&at_first, &five);
    let five_died = fleet.event(
        "Five brokers die at once",
        &serving(BROKERS, &five),
        at_once(|world| five.into_iter().for_each(|broker| world.kill(broker))),
    );
    assert_eq!((five_died.moved, five_died.needless), (their_own, 0));
    assert_eq!(five_died.ended as usize, their_own);
    assert!(fleet.world.places() == fleet.homes);

    let returned = fleet.event(
        "They return, with `rebalance: { rate: 50 }`",
        &all,
        at_once(|world| five.into_iter().for_each(|broker| world.revive(broker))),
    );
    assert_eq!((returned.moved, returned.needless, returned.refused), (their_own, 0, 0));
    assert!(fleet.homes == at_first && fleet.world.places() == at_first);

    let blind = fleet.event(
        "One proxy's probes of one broker fail, for 2 minutes",
        &all,
        |world, second| match second {
            0 => world.proxies[3].blind_to = Some(9),
            120 => world.proxies[3].blind_to = None,
            _ => (),
        },
    );
    assert_eq!((blind.moved, blind.refused), (0, 0));
    assert!(fleet.world.places() == at_first);
    vec![start, died, stays, storm, five_died, returned, blind]
}

/// Operators drain, add and remove.
fn changes(scale: Scale, keys: &[String]) -> Vec<Row> {
    let all = serving(BROKERS, &[]);
    let mut fleet = fleet(scale, keys);
    fleet.event("start", &all, at_once(|world| world.connect_all(10)));
    let at_first = fleet.homes.clone();

    let drained = fleet.event(
        "A broker is drained",
        &serving(BROKERS, &[7]),
        at_once(|world| world.set_state(7, BrokerState::Draining)),
    );
    let its_own = belonging(&at_first, &[7]);
    assert_eq!((drained.moved, drained.needless, drained.refused), (its_own, 0, 0));
    assert!(fleet.world.places() == fleet.homes);

    fleet.event("ready", &all, at_once(|world| world.set_state(7, BrokerState::Ready)));
    assert!(fleet.homes == at_first && fleet.world.places() == at_first);

    let added = fleet.event(
        "Ten brokers are added",
        &serving(WITH_ADDED, &[]),
        at_once(|world| world.set_members(&pool(WITH_ADDED, CONFIG).upstreams)),
    );
    let of_the_new = fleet.homes.iter().filter(|home| !BROKERS.contains(home)).count();
    assert_eq!((added.moved, added.needless, added.refused), (of_the_new, 0, 0));
    assert!(fleet.world.places() == fleet.homes);

    let before = fleet.homes.clone();
    let removed = fleet.event(
        "One of them is removed",
        &serving(WITH_ADDED, &[55]),
        at_once(|world| {
            let left = WITH_ADDED.filter(|broker| *broker != 55);
            world.set_members(&pool(left, CONFIG).upstreams);
        }),
    );
    let its_own = belonging(&before, &[55]);
    assert_eq!((removed.moved, removed.needless, removed.refused), (its_own, 0, 0));
    assert!(fleet.world.places() == fleet.homes);
    vec![drained, added, removed]
}

/// How evenly the brokers are loaded without and with `bounded_load`, and how many clients it sends
/// to another broker.
fn bounds(scale: Scale, keys: &[String]) -> Bounds {
    const FACTOR: f64 = 1.25;
    let even = keys.len() as f64 / BROKERS.len() as f64;
    let place = |config: &str| {
        let config = pool(BROKERS, config);
        let mut world = World::new(&config, scale.proxies, BROKERS.len(), keys, SEED);
        world.connect_all(10);
        (0..10 * STEPS_PER_SECOND).for_each(|_| world.advance());
        let busiest = world.sessions().into_iter().max().unwrap();
        (world.places(), f64::from(busiest) / even)
    };
    let (homes, unbounded) = place("");
    let (places, bounded) = place(&format!("balance: {{ bounded_load: {FACTOR} }}"));
    // Each proxy bounds its own sessions, and a share is a whole number.
    let rounding = scale.proxies as f64 / even;
    assert!(bounded <= FACTOR + rounding, "{bounded}");
    let away = homes.iter().zip(&places).filter(|(home, place)| home != place).count();
    Bounds { unbounded, bounded, away }
}

fn fleet(scale: Scale, keys: &[String]) -> Scenario<'_> {
    let config = pool(BROKERS, CONFIG);
    let brokers = usize::from(WITH_ADDED.end);
    let world = World::new(&config, scale.proxies, brokers, keys, SEED);
    Scenario::new(world, &serving(BROKERS, &[]))
}

/// Whether each broker is one of these.
fn serving(brokers: Range<BrokerId>, without: &[BrokerId]) -> Vec<bool> {
    WITH_ADDED.map(|id| brokers.contains(&id) && !without.contains(&id)).collect()
}

/// How many clients are at home on one of these brokers.
fn belonging(homes: &[BrokerId], to: &[BrokerId]) -> usize {
    homes.iter().filter(|home| to.contains(home)).count()
}

fn at_once<'a>(act: impl Fn(&mut World<'a>)) -> impl Fn(&mut World<'a>, u32) {
    move |world, second| {
        if second == 0 {
            act(world);
        }
    }
}

fn client_ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("device-{n:07}")).collect()
}

/// Usernames, of which few have many clients: the n-th has a share of 1/n (Zipf's law).
fn usernames(clients: usize) -> Vec<String> {
    const USERNAMES: usize = 1000;
    let harmonic: f64 = (1..=USERNAMES).map(|n| 1.0 / n as f64).sum();
    let of = |n| {
        let count = (clients as f64 / harmonic / n as f64).ceil() as usize;
        std::iter::repeat_n(format!("user-{n}"), count)
    };
    (1..=USERNAMES).flat_map(of).take(clients).collect()
}
