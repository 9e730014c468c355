//! The two balancers that use no key.

use std::collections::HashSet;

use super::{
    Algorithm::{LeastConnections, Rendezvous, RoundRobin},
    Router, brokers,
};

/// Sends `count` clients that stay, and returns the sessions of each broker.
fn fill(router: &mut Router, brokers: usize, count: u32) -> Vec<u32> {
    let mut sessions = vec![0; brokers];
    for _ in 0..count {
        let pick = router.pick_least_connections(&|i| Some(sessions[i])).expect("all are eligible");
        sessions[pick] += 1;
    }
    sessions
}

#[test]
fn least_connections_takes_the_lower_of_two() {
    let mut router = Router::new(LeastConnections, &brokers(&[1, 1]));
    for _ in 0..100 {
        assert_eq!(router.pick(b"", &|i| Some([8, 7][i])), Some(1));
    }
}

#[test]
fn least_connections_draws_two_different_brokers() {
    // The fullest always loses to a lower one; each of the others is drawn sooner or later.
    let mut router = Router::new(LeastConnections, &brokers(&[1, 1, 1]));
    let picks: HashSet<_> = (0..1_000).map(|_| router.pick(b"", &|i| Some([5, 9, 7][i]))).collect();
    assert_eq!(picks, HashSet::from([Some(0), Some(2)]));
}

#[test]
fn least_connections_counts_sessions_per_weight() {
    let mut router = Router::new(LeastConnections, &brokers(&[10, 1]));
    for _ in 0..100 {
        assert_eq!(router.pick(b"", &|i| Some([19, 2][i])), Some(0));
        assert_eq!(router.pick(b"", &|i| Some([21, 2][i])), Some(1));
    }
}

#[test]
fn least_connections_passes_over_those_not_eligible() {
    let mut router = Router::new(LeastConnections, &brokers(&[1, 1, 1]));
    for _ in 0..100 {
        assert_eq!(router.pick(b"", &|i| [None, Some(9), None][i]), Some(1));
        assert_eq!(router.pick(b"", &|i| [None, Some(9), Some(3)][i]), Some(2));
    }
}

#[test]
fn least_connections_fills_in_proportion_to_weight() {
    let weights = [1, 2, 3, 4, 10];
    for algorithm in [LeastConnections, Rendezvous] {
        let mut router = Router::new(algorithm, &brokers(&weights));
        let sessions = fill(&mut router, weights.len(), 20_000);
        for (sessions, weight) in sessions.iter().zip(weights) {
            // 1,000 per weight; with two choices the result is within a few of that.
            assert!(sessions.abs_diff(1_000 * weight) < 20 * weight, "{sessions} of {weight}");
        }
    }
}

#[test]
fn round_robin_is_smooth_and_weighted() {
    let mut router = Router::new(RoundRobin, &brokers(&[5, 1, 1]));
    let picks: Vec<_> = (0..14).filter_map(|_| router.pick(b"", &super::IDLE)).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);

    let mut router = Router::new(RoundRobin, &brokers(&[1, 1, 1]));
    let picks: Vec<_> = (0..6).filter_map(|_| router.pick(b"", &super::IDLE)).collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn round_robin_passes_over_those_not_eligible() {
    let mut router = Router::new(RoundRobin, &brokers(&[5, 1, 1]));
    let without_first = |i| (i != 0).then_some(0);
    let picks: Vec<_> = (0..4).filter_map(|_| router.pick(b"", &without_first)).collect();
    assert_eq!(picks, [1, 2, 1, 2]);
    // After its return it neither catches up nor falls behind.
    let picks: Vec<_> = (0..7).filter_map(|_| router.pick(b"", &super::IDLE)).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn clones_take_turns_of_their_own() {
    let mut one = Router::new(RoundRobin, &brokers(&[1, 1]));
    let mut other = one.clone();
    assert_eq!(one.pick(b"", &super::IDLE), Some(0));
    assert_eq!(one.pick(b"", &super::IDLE), Some(1));
    assert_eq!(other.pick(b"", &super::IDLE), Some(0));
}

/// Clones with the same random numbers would agree in all 64 draws; by chance that happens once in
/// 2^64.
#[test]
fn clones_draw_for_themselves() {
    let mut one = Router::new(LeastConnections, &brokers(&[1, 1]));
    let mut other = one.clone();
    let same = (0..64).filter(|_| one.pick(b"", &super::IDLE) == other.pick(b"", &super::IDLE));
    assert_ne!(same.count(), 64);
}
