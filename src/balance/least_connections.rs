//! The lower of two random brokers' sessions per weight: the power of two choices (Mitzenmacher,
//! IEEE TPDS 2001). Two suffice to keep the load even, and unlike the lowest of all they do not
//! send the next client of every worker to the same broker, such as one that has just recovered.

use std::{num::NonZeroU32, sync::Arc};

use fastrand::Rng;

use super::member::TierMember;

#[derive(Debug)]
pub(super) struct LeastConnections {
    candidates: Arc<[WeightedCandidate]>,
    rng: Rng,
}

#[derive(Clone, Copy, Debug)]
struct WeightedCandidate {
    index: usize,
    weight: NonZeroU32,
}

/// A broker that was drawn, and how many sessions it carries.
#[derive(Clone, Copy)]
struct Drawn {
    candidate: WeightedCandidate,
    sessions: u32,
}

impl LeastConnections {
    pub(super) fn new(members: &[TierMember<'_>]) -> Self {
        let candidate = |member: &TierMember<'_>| WeightedCandidate {
            index: member.index,
            weight: member.weight,
        };
        Self { candidates: members.iter().map(candidate).collect(), rng: Rng::new() }
    }

    pub(super) fn pick(&mut self, sessions: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        let first = self.draw(sessions)?;
        let others = |index| if index == first.candidate.index { None } else { sessions(index) };
        let lower = match self.draw(&others) {
            Some(second) if second.is_below(first) => second,
            _ => first,
        };
        Some(lower.candidate.index)
    }

    /// Draws one eligible broker at random, in proportion to weight: drawn evenly, a heavy broker
    /// would be drawn too rarely to get its share.
    fn draw(&mut self, sessions: &dyn Fn(usize) -> Option<u32>) -> Option<Drawn> {
        let (mut drawn, mut total) = (None, 0);
        for &candidate in &*self.candidates {
            let Some(sessions) = sessions(candidate.index) else { continue };
            // Reservoir sampling: each broker replaces the drawn one with the probability of its
            // share of the weight seen so far.
            let weight = u64::from(candidate.weight.get());
            total += weight;
            if self.rng.u64(..total) < weight {
                drawn = Some(Drawn { candidate, sessions });
            }
        }
        drawn
    }
}

impl Clone for LeastConnections {
    /// The clone has its own random numbers: workers that draw the same pairs would pick the same
    /// brokers.
    fn clone(&self) -> Self {
        Self { candidates: Arc::clone(&self.candidates), rng: Rng::new() }
    }
}

impl Drawn {
    /// Whether it has fewer sessions per weight; compared without a division.
    fn is_below(self, other: Self) -> bool {
        let scaled = |a: Self, b: Self| u64::from(a.sessions) * u64::from(b.candidate.weight.get());
        scaled(self, other) < scaled(other, self)
    }
}
