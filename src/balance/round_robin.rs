//! Smooth weighted round robin, as nginx made it known: turns in proportion to weight, a heavy
//! broker's spread out between the others' instead of in a row.

use super::TierMember;

#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    turns: Vec<Turn>,
}

#[derive(Clone, Debug)]
struct Turn {
    index: usize,
    weight: i64,
    /// How much is owed to this broker: its weight for every pick it could have had, less what
    /// everyone put in for each pick it got. All credits sum to 0.
    credit: i64,
}

impl RoundRobin {
    pub(super) fn new(members: &[TierMember<'_>]) -> Self {
        let turn = |member: &TierMember<'_>| Turn {
            index: member.index,
            weight: i64::from(member.weight.get()),
            credit: 0,
        };
        Self { turns: members.iter().map(turn).collect() }
    }

    pub(super) fn pick(&mut self, sessions: &dyn Fn(usize) -> Option<u32>) -> Option<usize> {
        let mut total = 0;
        let mut next: Option<&mut Turn> = None;
        for turn in self.turns.iter_mut().filter(|turn| sessions(turn.index).is_some()) {
            turn.credit += turn.weight;
            total += turn.weight;
            if next.as_ref().is_none_or(|next| turn.credit > next.credit) {
                next = Some(turn);
            }
        }
        let next = next?;
        next.credit -= total;
        Some(next.index)
    }
}
