//! The guarantees of every balancer. The other files test the further guarantees of single ones.

mod key;
mod rendezvous;
mod tables;
mod unkeyed;

use std::{
    collections::{BTreeSet, HashSet},
    num::NonZeroU32,
};

use proptest::prelude::*;

use super::{Algorithm, Router, WeightedBroker};

const KEYED: [Algorithm; 3] = [Algorithm::Rendezvous, Algorithm::Maglev, Algorithm::Ketama];

const ALL: [Algorithm; 5] = [
    Algorithm::Rendezvous,
    Algorithm::Maglev,
    Algorithm::Ketama,
    Algorithm::LeastConnections,
    Algorithm::RoundRobin,
];

fn broker(name: &str, weight: u32) -> WeightedBroker {
    WeightedBroker { name: name.into(), weight: NonZeroU32::new(weight).unwrap(), backup: false }
}

fn backup(name: &str, weight: u32) -> WeightedBroker {
    WeightedBroker { backup: true, ..broker(name, weight) }
}

/// `broker-0`, `broker-1`, …, one per weight.
fn brokers(weights: &[u32]) -> Vec<WeightedBroker> {
    let named = weights.iter().enumerate();
    named.map(|(i, &weight)| broker(&format!("broker-{i}"), weight)).collect()
}

/// Every broker eligible and idle.
const IDLE: fn(usize) -> Option<u32> = |_| Some(0);

/// The owners of `count` client IDs.
fn owners(algorithm: Algorithm, brokers: &[WeightedBroker], count: u32) -> Vec<usize> {
    owners_among(algorithm, brokers, count, &IDLE)
}

fn owners_among(
    algorithm: Algorithm,
    brokers: &[WeightedBroker],
    count: u32,
    sessions: &dyn Fn(usize) -> Option<u32>,
) -> Vec<usize> {
    let mut router = Router::new(algorithm, brokers);
    (0..count)
        .map(|i| router.pick(format!("client-{i}").as_bytes(), sessions).expect("one is eligible"))
        .collect()
}

/// The order of tries: repeated picks without the brokers picked before.
fn order(router: &mut Router, key: &[u8], sessions: &dyn Fn(usize) -> Option<u32>) -> Vec<usize> {
    let mut tried = Vec::new();
    while let Some(next) =
        router.pick(key, &|i| if tried.contains(&i) { None } else { sessions(i) })
    {
        assert!(!tried.contains(&next), "{next} was left out, yet picked");
        tried.push(next);
    }
    tried
}

/// The largest deviation of a broker's count from its share by weight, as a fraction of that share.
fn imbalance(owners: &[usize], brokers: &[WeightedBroker]) -> f64 {
    let total: f64 = brokers.iter().map(|broker| f64::from(broker.weight.get())).sum();
    let deviation = |(i, broker): (usize, &WeightedBroker)| {
        let share = owners.len() as f64 * f64::from(broker.weight.get()) / total;
        let count = owners.iter().filter(|&&owner| owner == i).count() as f64;
        (count / share - 1.0).abs()
    };
    brokers.iter().enumerate().map(deviation).fold(0.0, f64::max)
}

#[test]
fn a_broker_that_is_down_moves_its_own_keys_only_and_spreads_them() {
    let brokers = brokers(&[1; 10]);
    for algorithm in KEYED {
        let before = owners(algorithm, &brokers, 100_000);
        let after = owners_among(algorithm, &brokers, 100_000, &|i| (i != 3).then_some(0));
        let mut heirs = HashSet::new();
        for (&before, &after) in before.iter().zip(&after) {
            if before == 3 {
                heirs.insert(after);
            } else {
                assert_eq!(before, after, "{algorithm:?}");
            }
        }
        assert_eq!(heirs, HashSet::from([0, 1, 2, 4, 5, 6, 7, 8, 9]), "{algorithm:?}");
    }
}

#[test]
fn a_broker_removed_from_the_pool_moves_its_own_keys_only() {
    let pool = brokers(&[1, 2, 1, 3, 1, 1, 1, 2, 1, 1]);
    let mut smaller = pool.clone();
    smaller.remove(3);
    for algorithm in [Algorithm::Rendezvous, Algorithm::Ketama] {
        let before = owners(algorithm, &pool, 100_000);
        let after = owners(algorithm, &smaller, 100_000);
        for (before, after) in before.into_iter().zip(after) {
            if before != 3 {
                assert_eq!(pool[before].name, smaller[after].name, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn a_broker_that_comes_back_has_its_keys_back() {
    let pool = brokers(&[1, 2, 1, 3]);
    for algorithm in KEYED {
        let mut router = Router::new(algorithm, &pool);
        for i in 0..10_000 {
            let key = format!("client-{i}");
            let before = router.pick(key.as_bytes(), &IDLE);
            router.pick(key.as_bytes(), &|i| (i != 1).then_some(0));
            assert_eq!(router.pick(key.as_bytes(), &IDLE), before, "{algorithm:?}");
        }
        // Its position in the file does not matter either.
        let back: Vec<_> = [&pool[..1], &pool[2..], &pool[1..2]].concat();
        let (before, after) = (owners(algorithm, &pool, 10_000), owners(algorithm, &back, 10_000));
        for (before, after) in before.into_iter().zip(after) {
            assert_eq!(pool[before].name, back[after].name, "{algorithm:?}");
        }
    }
}

#[test]
fn backups_serve_only_when_no_primary_can() {
    let pool = [backup("spare-1", 100), broker("a", 1), backup("spare-2", 1), broker("b", 1)];
    for algorithm in ALL {
        let mut router = Router::new(algorithm, &pool);
        for i in 0..100 {
            let key = format!("client-{i}");
            let tries = order(&mut router, key.as_bytes(), &|i| Some([0, 900, 0, 500][i]));
            assert_eq!(tries[..2].iter().collect::<BTreeSet<_>>(), [1, 3].iter().collect());
            assert_eq!(tries[2..].iter().collect::<BTreeSet<_>>(), [0, 2].iter().collect());
            assert!(matches!(router.pick_least_connections(&|_| Some(7)), Some(1 | 3)));
            let spares = |i| (i == 0 || i == 2).then_some(0);
            assert!(matches!(router.pick_least_connections(&spares), Some(0 | 2)));
        }
    }
}

#[test]
fn none_is_picked_of_none() {
    for algorithm in ALL {
        for pool in [vec![], brokers(&[1, 2, 3]), vec![backup("spare", 1)]] {
            let mut router = Router::new(algorithm, &pool);
            assert_eq!(router.pick(b"client", &|_| None), None);
            assert_eq!(router.pick_least_connections(&|_| None), None);
        }
    }
}

#[test]
fn clones_agree_on_keys() {
    let pool = brokers(&[1, 2, 3, 4]);
    for algorithm in KEYED {
        let mut one = Router::new(algorithm, &pool);
        let mut other = one.clone();
        for i in 0..1_000 {
            let key = format!("client-{i}");
            assert_eq!(one.pick(key.as_bytes(), &IDLE), other.pick(key.as_bytes(), &IDLE));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_tries_has_every_eligible_broker_once_and_primaries_first(
        pool in proptest::collection::btree_map(
            "[a-z0-9.:-]{1,12}", (1_u32..20, any::<bool>(), any::<bool>()), 1..12),
        key in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let eligible: Vec<bool> = pool.values().map(|&(_, _, eligible)| eligible).collect();
        let pool: Vec<WeightedBroker> = pool
            .iter()
            .map(|(name, &(weight, backup, _))| WeightedBroker { backup, ..broker(name, weight) })
            .collect();
        for algorithm in ALL {
            let mut router = Router::new(algorithm, &pool);
            let tries = order(&mut router, &key, &|i| eligible[i].then_some(0));
            let mut seen = tries.clone();
            seen.sort_unstable();
            let expected: Vec<usize> = (0..pool.len()).filter(|&i| eligible[i]).collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(tries.is_sorted_by_key(|&i| pool[i].backup), "{:?}", algorithm);
        }
    }
}
