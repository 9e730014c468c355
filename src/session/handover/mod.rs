//! Sessions that move to another process: an upgrade ends none of them.
//!
//! In the old process, `hand_over` asks the sessions of a worker, a few per turn; a relay that is
//! asked parks after its next step (`park`): its state is captured, and nothing is read from or
//! written to its connections until the other process has answered. A session that has moved leaves
//! without a line in the log and without a byte to its peers; any other resumes as if nothing had
//! happened. `departures` has what a worker keeps of this.
//!
//! In the new process, `restore` makes a session of such a state, and `adopt` keeps it until it is
//! told that the old process knows: so a session never runs in both.

mod adopt;
mod departures;
mod hand_over;
mod park;
mod restore;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use adopt::{Adoptions, MovedSession, Refusal};
pub(crate) use departures::{ParkedSession, StayCounts};
pub(crate) use hand_over::{
    HandOver, HandOverOutcome, answer_hand_over, end_hand_over, start_hand_over,
};

pub(super) use departures::Departures;
pub(super) use park::{Parking, park};
