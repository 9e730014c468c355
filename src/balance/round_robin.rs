//! Smooth weighted round robin, as in nginx: picks are proportional to weight, and the picks of a
//! heavy broker are spread among the others' instead of in a row.

use super::member::TierMember;

#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    brokers: Vec<BrokerCredit>,
}

#[derive(Clone, Debug)]
struct BrokerCredit {
    index: usize,
    weight: i64,
    /// Grows by the broker's weight with every pick for which it is eligible, and shrinks by the
    /// total weight with every pick that it gets. The credits add up to 0.
    credit: i64,
}

impl RoundRobin {
    pub(super) fn new(members: &[TierMember<'_>]) -> Self {
        let broker = |member: &TierMember<'_>| BrokerCredit {
            index: member.index,
            weight: i64::from(member.weight.get()),
            credit: 0,
        };
        Self { brokers: members.iter().map(broker).collect() }
    }

    pub(super) fn pick(&mut self, sessions: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        let mut total = 0;
        let mut next: Option<&mut BrokerCredit> = None;
        for broker in self.brokers.iter_mut().filter(|broker| sessions(broker.index).is_some()) {
            broker.credit += broker.weight;
            total += broker.weight;
            if next.as_ref().is_none_or(|next| broker.credit > next.credit) {
                next = Some(broker);
            }
        }
        let next = next?;
        next.credit -= total;
        Some(next.index)
    }
}
