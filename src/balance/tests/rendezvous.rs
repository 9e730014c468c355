//! The public formula and its consequences.

use proptest::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    Algorithm::Rendezvous, IDLE, Router, WeightedBroker, broker, brokers, imbalance, order, owners,
};

/// A key, the brokers' names and weights, and their order for the key.
type Case<'a> = (&'a str, &'a [(&'a str, u32)], &'a [usize]);

/// Expected orders come from another implementation: Python's xxhash package and `math.log`.
#[test]
fn orders_are_those_of_the_published_formula() {
    let long = format!("long-{}", "0123456789".repeat(30));
    let cases: [Case<'_>; 8] = [
        ("sensor-1", &[("broker-1", 1), ("broker-2", 1), ("broker-3", 1)], &[2, 1, 0]),
        ("sensor-2", &[("broker-1", 1), ("broker-2", 1), ("broker-3", 1)], &[1, 2, 0]),
        ("a", &[("broker-1", 1), ("broker-2", 2), ("broker-3", 5)], &[2, 0, 1]),
        (
            "mqttjs_8a3f91c2",
            &[
                ("emqx-0.emqx-headless.mqtt.svc", 3),
                ("emqx-1.emqx-headless.mqtt.svc", 1),
                ("emqx-2.emqx-headless.mqtt.svc", 1),
                ("emqx-3.emqx-headless.mqtt.svc", 1),
            ],
            &[0, 2, 1, 3],
        ),
        (
            "00:1B:44:11:3A:B7",
            &[
                ("10.0.0.7:1883", 1),
                ("10.0.0.8:1883", 1),
                ("10.0.0.9:1883", 2),
                ("10.0.0.10:1883", 1),
                ("10.0.0.11:1883", 4),
            ],
            &[0, 2, 3, 4, 1],
        ),
        ("gerät/Küche", &[("nord", 1), ("süd", 1), ("ost", 7), ("west", 1)], &[2, 1, 3, 0]),
        ("xxxxxxxxxxxxxxxxxxxxxxx", &[("a", 1), ("b", u32::MAX), ("c", 1)], &[1, 2, 0]),
        (
            &long,
            &[
                ("broker-1", 1),
                ("broker-2", 1),
                ("broker-3", 1),
                ("broker-4", 1),
                ("broker-5", 1),
                ("broker-6", 1),
            ],
            &[3, 1, 2, 0, 5, 4],
        ),
    ];
    for (key, pool, expected) in cases {
        let pool: Vec<_> = pool.iter().map(|&(name, weight)| broker(name, weight)).collect();
        let mut router = Router::new(Rendezvous, &pool);
        assert_eq!(order(&mut router, key.as_bytes(), &IDLE), expected, "{key}");
    }
}

/// The counts of `client-0` … `client-9999` on ten equal brokers also come from Python.
#[test]
fn ten_thousand_keys_land_where_the_published_formula_says() {
    let owners = owners(Rendezvous, &brokers(&[1; 10]), 10_000);
    let count = |i| owners.iter().filter(|&&owner| owner == i).count();
    let counts: Vec<usize> = (0..10).map(count).collect();
    assert_eq!(counts, [979, 972, 988, 965, 1017, 1012, 1033, 1004, 1030, 1000]);
}

#[test]
fn a_million_clients_are_balanced_within_3_percent() {
    let pool = brokers(&[1; 10]);
    let imbalance = imbalance(&owners(Rendezvous, &pool, 1_000_000), &pool);
    assert!(imbalance < 0.03, "{imbalance}");
}

#[test]
fn shares_are_in_proportion_to_weight() {
    let pool = brokers(&[1, 2, 3, 10]);
    let imbalance = imbalance(&owners(Rendezvous, &pool, 400_000), &pool);
    assert!(imbalance < 0.03, "{imbalance}");
}

#[test]
fn a_grown_weight_moves_keys_only_to_the_grown_broker() {
    let (before, after) = (brokers(&[1, 1, 2, 1, 1]), brokers(&[1, 1, 3, 1, 1]));
    let (before, after) =
        (owners(Rendezvous, &before, 100_000), owners(Rendezvous, &after, 100_000));
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    let to: Vec<usize> = moved.map(|(_, &after)| after).collect();
    assert!(to.iter().all(|&to| to == 2));
    // From 2/6 of the keys to 3/7: 4/42 of all keys move.
    let expected = 100_000.0 * 4.0 / 42.0;
    assert!((to.len() as f64 / expected - 1.0).abs() < 0.05, "{}", to.len());
}

proptest! {
    /// Compares the literal formula with the optimized implementation.
    #[test]
    fn the_order_of_tries_is_the_order_of_scores(
        pool in proptest::collection::btree_map(
            ".{1,20}", prop_oneof![Just(1_u32), 1_u32..5, 1_u32..], 1..30),
        key in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        // Not in the order of names.
        let pool: Vec<WeightedBroker> =
            pool.iter().rev().map(|(name, &weight)| broker(name, weight)).collect();
        let score = |broker: &WeightedBroker| {
            let seed = xxh3_64(broker.name.as_bytes());
            let hash = xxh3_64_with_seed(&key, seed);
            let u = ((hash >> 11) as f64 + 0.5) / 2_f64.powi(53);
            -f64::from(broker.weight.get()) / u.ln()
        };
        let mut expected: Vec<usize> = (0..pool.len()).collect();
        expected.sort_by(|&a, &b| {
            score(&pool[b]).total_cmp(&score(&pool[a])).then(pool[a].name.cmp(&pool[b].name))
        });
        prop_assert_eq!(order(&mut Router::new(Rendezvous, &pool), &key, &IDLE), expected);
    }

    #[test]
    fn the_order_in_the_configuration_decides_nothing(
        names in proptest::collection::btree_set("[a-z]{1,8}", 2..10),
        key in "[ -~]{1,30}",
    ) {
        let forward: Vec<WeightedBroker> = names.iter().map(|name| broker(name, 1)).collect();
        let backward: Vec<WeightedBroker> = forward.iter().rev().cloned().collect();
        let names = |pool: &[WeightedBroker]| -> Vec<_> {
            let order = order(&mut Router::new(Rendezvous, pool), key.as_bytes(), &IDLE);
            order.into_iter().map(|i| pool[i].name.clone()).collect()
        };
        prop_assert_eq!(names(&forward), names(&backward));
    }
}
