//! How a hand-over ends early, without a thing that both processes have, or neither.

use std::time::Instant;

use super::{CLOSE_TIMEOUT, Giver, GiverAction, Phase, ToOld};

impl Giver {
    /// Stops sending. What the new process has taken is known at the end of the stream.
    pub(super) fn end(&mut self, why: String, now: Instant, actions: &mut Vec<GiverAction>) {
        self.why.get_or_insert(why);
        if matches!(self.phase, Phase::Ending | Phase::Lingering) {
            return;
        }
        if self.taken_over {
            actions.push(GiverAction::Interrupted(self.reason()));
        }
        actions.push(GiverAction::CloseSender);
        self.enter(Phase::Ending, Some(now + CLOSE_TIMEOUT));
    }

    /// The messages that were on their way when the hand-over failed.
    pub(super) fn receive_while_ending(&mut self, message: ToOld, actions: &mut Vec<GiverAction>) {
        match message {
            ToOld::Accepting if self.go_sent && !self.taken_over => {
                self.taken_over = true;
                actions.extend([GiverAction::TakenOver, GiverAction::Interrupted(self.reason())]);
            }
            ToOld::Answers(answers) => {
                for answer in answers {
                    // What is wrong with an answer is no longer of interest.
                    let _ = self.answered(answer, actions);
                }
            }
            ToOld::Drain if self.taken_over => self.drain(actions),
            ToOld::ReopenLogs if self.taken_over => actions.push(GiverAction::ReopenLogs),
            // The new process's reason is better than that of this side.
            ToOld::Failed { why } if !self.taken_over => self.why = Some(why),
            _ => {}
        }
    }

    /// Everything that the new process has sent has been read.
    pub(super) fn closed(&mut self, actions: &mut Vec<GiverAction>) {
        self.why.get_or_insert_with(|| "the new process has closed the connection".into());
        if self.taken_over && self.phase == Phase::Moving {
            actions.push(GiverAction::Interrupted(self.reason()));
        }
        if self.phase != Phase::Ending {
            actions.push(GiverAction::CloseSender);
        }
        self.settle(actions);
    }

    /// Messages from here on are unknown: if one of them could decide something, the new process
    /// must not act on it.
    pub(super) fn unreadable(&mut self, why: String, now: Instant, actions: &mut Vec<GiverAction>) {
        self.end(why, now, actions);
        if self.exited || (self.taken_over && self.unanswered.is_empty()) {
            return self.settle(actions);
        }
        actions.push(GiverAction::Kill);
        self.unreadable = true;
        self.deadline = None;
    }

    pub(super) fn timed_out(&mut self, now: Instant, actions: &mut Vec<GiverAction>) {
        let why = match self.phase {
            Phase::Ending => {
                actions.push(GiverAction::Kill);
                self.deadline = None;
                return;
            }
            Phase::Hello | Phase::Preparing { .. } => "the new process was not ready in time",
            Phase::Committing => "the new process did not start to accept in time",
            Phase::Moving => "the new process did not answer in time",
            Phase::Stopping | Phase::Lingering | Phase::Over => return,
        };
        self.end(why.into(), now, actions);
    }

    /// The new process is dead. What it has sent before decides: it is acted on at the end of the
    /// stream, if that has not been reached.
    pub(super) fn exited(&mut self, how: String, actions: &mut Vec<GiverAction>) {
        self.exited = true;
        match self.phase {
            Phase::Lingering => self.reclaim(how, actions),
            _ if self.unreadable => self.settle(actions),
            _ => {
                self.why.get_or_insert(how);
            }
        }
    }

    /// Takes back what the new process has not taken.
    fn settle(&mut self, actions: &mut Vec<GiverAction>) {
        let why = self.reason();
        while let Some(id) = self.unanswered.pop_first() {
            actions.push(GiverAction::Resume { id, why: why.clone() });
        }
        if self.taken_over {
            self.enter(Phase::Lingering, None);
            if self.exited {
                self.reclaim(why, actions);
            }
            return;
        }
        if !self.exited {
            actions.push(GiverAction::Kill);
        }
        if self.stopped {
            actions.push(GiverAction::ResumeAccepting);
        }
        self.enter(Phase::Over, None);
        actions.push(GiverAction::Failed(why));
    }

    fn reclaim(&mut self, why: String, actions: &mut Vec<GiverAction>) {
        self.enter(Phase::Over, None);
        if !self.draining {
            actions.push(GiverAction::ResumeAccepting);
            actions.push(GiverAction::Reclaimed(why));
        }
    }
}
