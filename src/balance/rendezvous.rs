//! Weighted rendezvous hashing (Thaler and Ravishankar 1996; weights after Schindelhauer and
//! Schomaker 2005): every broker scores every key, and the highest score wins.
//!
//! The formula is a public contract, so that any script can compute where a client goes. For key
//! `k` and broker name `n` of weight `w`:
//!
//! ```text
//! h     = xxh3_64(k, seed = xxh3_64(n, seed = 0))
//! u     = ((h >> 11) + 0.5) / 2^53
//! score = -w / ln(u)
//! ```
//!
//! in IEEE 754 double precision; a `u` that rounds to 1 scores infinity, and of equal scores the
//! one whose name sorts first, byte by byte, wins.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::member::TierMember;

#[derive(Clone, Debug)]
pub(super) struct Rendezvous {
    /// Sorted by name, so that the first of equal scores wins.
    candidates: Arc<[SeededCandidate]>,
}

#[derive(Debug)]
struct SeededCandidate {
    seed: u64,
    weight: f64,
    index: usize,
}

impl Rendezvous {
    pub(super) fn new(members: &[TierMember<'_>]) -> Self {
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| member.name);
        let candidate = |member: &TierMember<'_>| SeededCandidate {
            seed: xxh3_64(member.name.as_bytes()),
            weight: f64::from(member.weight.get()),
            index: member.index,
        };
        Self { candidates: members.iter().map(candidate).collect() }
    }

    pub(super) fn pick(
        &self,
        key: &[u8],
        sessions: &dyn Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        let (mut best, mut best_score) = (None, 0.0);
        for candidate in &*self.candidates {
            let u = unit_interval(xxh3_64_with_seed(key, candidate.seed));
            if let Some(score) = score_above(best_score, candidate.weight, u)
                && sessions(candidate.index).is_some()
            {
                (best, best_score) = (Some(candidate.index), score);
            }
        }
        best
    }
}

/// The score of `weight` at `u`, if it is above `best`.
fn score_above(best: f64, weight: f64, u: f64) -> Option<f64> {
    // -ln(u) >= 1 - u, so w / (1 - u) is an upper bound of the score, which avoids nearly all
    // logarithms. The factor widens the bound far beyond any rounding error in it (a few times
    // 2^-52), so that no winner by the formula is missed.
    const ROUNDING: f64 = 1.0 + 1e-9;
    if weight * ROUNDING < best * (1.0 - u) {
        return None;
    }
    let score = weight / u.ln().abs();
    (score > best).then_some(score)
}

/// The hash's upper 53 bits, as many as a double holds, as a number in (0, 1].
fn unit_interval(hash: u64) -> f64 {
    const TWO_POW_53: f64 = (1_u64 << 53) as f64;
    ((hash >> 11) as f64 + 0.5) / TWO_POW_53
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unit_interval_spans_all_hashes() {
        let half_step = 1.0 / (1_u64 << 54) as f64;
        assert_eq!(unit_interval(0).to_bits(), half_step.to_bits());
        assert_eq!(unit_interval(0x7ff).to_bits(), half_step.to_bits());
        assert_eq!(unit_interval(0x800).to_bits(), (3.0 * half_step).to_bits());
        assert_eq!(unit_interval(1 << 63).to_bits(), 0.5_f64.to_bits());
        assert_eq!(unit_interval(u64::MAX).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_unit_of_one_scores_infinity_and_nothing_above_it() {
        assert_eq!(score_above(0.0, 1.0, 1.0), Some(f64::INFINITY));
        assert_eq!(score_above(1e300, 1.0, 1.0), Some(f64::INFINITY));
        assert_eq!(score_above(f64::INFINITY, 2.0, 1.0), None);
        assert_eq!(score_above(f64::INFINITY, 2.0, 0.5), None);
    }

    #[test]
    fn an_equal_score_is_not_above() {
        let score = score_above(0.0, 3.0, 0.25).unwrap();
        assert_eq!(score.to_bits(), (-3.0 / 0.25_f64.ln()).to_bits());
        assert_eq!(score_above(score, 3.0, 0.25), None);
    }

    proptest! {
        /// A bound that is too tight would fail for hashes that are equal or one step apart.
        #[test]
        fn the_bound_changes_no_outcome(
            hash in any::<u64>(),
            steps in 0_u64..4,
            upper in any::<bool>(),
            weights in prop_oneof![Just((1, 1)), (1_u32.., 1_u32..)],
        ) {
            // Half of the cases are close to 1, where the high scores are.
            let hash = if upper { hash | 0xffff_ff00_0000_0000 } else { hash };
            let best = f64::from(weights.0) / unit_interval(hash).ln().abs();
            let u = unit_interval(hash.saturating_add(steps << 11));
            let score = f64::from(weights.1) / u.ln().abs();
            prop_assert_eq!(
                score_above(best, f64::from(weights.1), u),
                (score > best).then_some(score)
            );
        }
    }
}
