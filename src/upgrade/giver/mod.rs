//! What the old process does, without I/O: events in, actions out.

mod ending;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::message::{Answer, ToNew, ToOld, VERSIONS};

/// How long the new process may take to answer `Hello`, and to become ready after that.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to answer `Go`, for which it has nothing to do but to send.
const ACCEPTING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may leave all sessions without an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may keep the stream open after a failure.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most sessions without an answer: those pause.
pub(crate) const MAX_UNANSWERED: usize = 128;

#[derive(Clone, Debug)]
pub(crate) enum GiverEvent {
    Message(ToOld),
    /// The stream has ended: all that the new process has sent was read.
    Closed,
    /// The stream cannot be read on, though it may not have ended.
    Unreadable(String),
    /// A message was not sent. What the new process has sent can still be read.
    SendFailed(String),
    /// [`Giver::deadline`] has passed.
    TimedOut,
    /// The new process has exited or was killed, and has been waited for.
    Exited(String),
    /// This process cannot do its part.
    Failed(String),
    /// `Listeners` to `State` have been sent.
    StateSent,
    StoppedAccepting,
    /// A session is at rest.
    Parked(u64),
    /// A session cannot be sent, and nothing of it was.
    NotSent {
        id: u64,
        why: String,
    },
    /// This process has no session any more.
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GiverAction {
    Send(ToNew),
    /// Send `Listeners` to `State`.
    SendState,
    StopAccepting,
    ResumeAccepting,
    /// The new process accepts: the upgrade has succeeded, whatever becomes of the sessions. They
    /// park from now on, until each has been asked.
    TakenOver,
    /// The hand-over has failed after that. Sessions that have not moved stay, those that still
    /// park as well: they are resumed.
    Interrupted(String),
    SendSession(u64),
    /// The new process has it: forget it without a trace for client and broker.
    Release(u64),
    Resume {
        id: u64,
        why: String,
    },
    ReopenLogs,
    /// End all sessions as a drain does.
    Drain,
    /// Drop the sender; go on reading until the stream ends.
    CloseSender,
    Kill,
    /// The upgrade has failed; this process serves as if nothing had been asked.
    Failed(String),
    /// The new process has died after it had taken over; this one accepts again.
    Reclaimed(String),
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Hello,
    Preparing {
        state_sent: bool,
    },
    Stopping,
    /// `Go` has been sent.
    Committing,
    Moving,
    /// Something has failed, and the stream is read to its end.
    Ending,
    /// The new process has taken over, and the stream has ended. It is watched until it exits.
    Lingering,
    Over,
}

/// The old process's side. It never takes back or gives up what the new process may have
/// ([`super`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Giver {
    phase: Phase,
    deadline: Option<Instant>,
    /// Whether accepting was stopped, and has not been resumed.
    stopped: bool,
    go_sent: bool,
    taken_over: bool,
    draining: bool,
    exited: bool,
    /// Nothing more is read: the end of the new process decides.
    unreadable: bool,
    /// Why the hand-over ends early.
    why: Option<String>,
    unanswered: BTreeSet<u64>,
    moved: u64,
}

impl Giver {
    /// Begins, when the new process has been spawned.
    pub(crate) fn new(program: String, pid: u32, now: Instant) -> (Self, GiverAction) {
        let giver = Self {
            phase: Phase::Hello,
            deadline: Some(now + READY_TIMEOUT),
            stopped: false,
            go_sent: false,
            taken_over: false,
            draining: false,
            exited: false,
            unreadable: false,
            why: None,
            unanswered: BTreeSet::new(),
            moved: 0,
        };
        (giver, GiverAction::Send(ToNew::Hello { versions: VERSIONS, program, pid }))
    }

    /// When [`GiverEvent::TimedOut`] is due; changes with any event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many sessions may be parked and sent now.
    pub(crate) fn room(&self) -> usize {
        if self.is_moving() { MAX_UNANSWERED - self.unanswered.len() } else { 0 }
    }

    /// Whether `Totals` and `Remaining` may be sent.
    pub(crate) fn is_moving(&self) -> bool {
        self.phase == Phase::Moving
    }

    /// Whether nothing is left to do: the process serves alone, or exits.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// How many sessions the new process has taken.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// The actions are to be done in their order.
    pub(crate) fn handle(&mut self, event: GiverEvent, now: Instant) -> Vec<GiverAction> {
        let mut actions = Vec::new();
        if self.is_over() {
            if let GiverEvent::Parked(id) = event {
                actions.push(GiverAction::Resume { id, why: self.reason() });
            }
            return actions;
        }
        match event {
            GiverEvent::Message(message) => self.receive(message, now, &mut actions),
            GiverEvent::Closed => self.closed(&mut actions),
            GiverEvent::Unreadable(why) => self.unreadable(why, now, &mut actions),
            GiverEvent::SendFailed(why) => self.end(why, now, &mut actions),
            GiverEvent::Failed(why) if !self.taken_over => self.end(why, now, &mut actions),
            GiverEvent::TimedOut => self.timed_out(now, &mut actions),
            GiverEvent::Exited(how) => self.exited(how, &mut actions),
            GiverEvent::StateSent if self.phase == (Phase::Preparing { state_sent: false }) => {
                self.phase = Phase::Preparing { state_sent: true };
                self.deadline = Some(now + READY_TIMEOUT);
            }
            GiverEvent::StoppedAccepting if self.phase == Phase::Stopping => {
                self.go_sent = true;
                self.enter(Phase::Committing, Some(now + ACCEPTING_TIMEOUT));
                actions.push(GiverAction::Send(ToNew::Go));
            }
            GiverEvent::Parked(id) => self.parked(id, now, &mut actions),
            GiverEvent::NotSent { id, why } => {
                // As an answer: a session that is not sent needs none.
                if self.answered(Answer { id, outcome: Err(why) }, &mut actions).is_ok()
                    && self.is_moving()
                    && self.unanswered.is_empty()
                {
                    self.deadline = None;
                }
            }
            GiverEvent::Empty => self.empty(&mut actions),
            GiverEvent::Failed(_) | GiverEvent::StateSent | GiverEvent::StoppedAccepting => {}
        }
        actions
    }

    fn receive(&mut self, message: ToOld, now: Instant, actions: &mut Vec<GiverAction>) {
        match (self.phase, message) {
            (Phase::Ending, message) => self.receive_while_ending(message, actions),
            (Phase::Hello, ToOld::Hello { version, .. }) if VERSIONS.contains(version) => {
                let preparing = Phase::Preparing { state_sent: false };
                self.enter(preparing, Some(now + READY_TIMEOUT));
                actions.push(GiverAction::SendState);
            }
            (Phase::Preparing { state_sent: true }, ToOld::Ready) => {
                self.stopped = true;
                self.enter(Phase::Stopping, None);
                actions.push(GiverAction::StopAccepting);
            }
            (Phase::Committing, ToOld::Accepting) => {
                self.taken_over = true;
                self.enter(Phase::Moving, None);
                actions.push(GiverAction::TakenOver);
            }
            (Phase::Moving, ToOld::Answers(answers)) => {
                for answer in answers {
                    if let Err(id) = self.answered(answer, actions) {
                        let why = format!("session {id} was answered, but not asked for");
                        return self.end(why, now, actions);
                    }
                }
                let waits = !self.unanswered.is_empty();
                self.deadline = waits.then(|| now + ANSWER_TIMEOUT);
            }
            (Phase::Moving, ToOld::ReopenLogs) => actions.push(GiverAction::ReopenLogs),
            (Phase::Moving, ToOld::Drain) => self.drain(actions),
            (_, ToOld::Failed { why }) => self.end(why, now, actions),
            (phase, message) => {
                let why = format!("unexpected message in phase {phase:?}: {message:?}");
                self.end(why, now, actions);
            }
        }
    }

    /// Acts on an answer; the session's ID is the error if it waits for none.
    fn answered(&mut self, answer: Answer, actions: &mut Vec<GiverAction>) -> Result<(), u64> {
        let Answer { id, outcome } = answer;
        if !self.unanswered.remove(&id) {
            return Err(id);
        }
        match outcome {
            Ok(()) => {
                self.moved += 1;
                actions.push(GiverAction::Release(id));
            }
            Err(why) => {
                actions.push(GiverAction::Resume { id, why });
            }
        }
        Ok(())
    }

    fn parked(&mut self, id: u64, now: Instant, actions: &mut Vec<GiverAction>) {
        if self.room() == 0 {
            let why = self.reason();
            return actions.push(GiverAction::Resume { id, why });
        }
        if self.unanswered.is_empty() {
            self.deadline = Some(now + ANSWER_TIMEOUT);
        }
        self.unanswered.insert(id);
        actions.push(GiverAction::SendSession(id));
    }

    fn drain(&mut self, actions: &mut Vec<GiverAction>) {
        self.draining = true;
        actions.push(GiverAction::Drain);
    }

    fn empty(&mut self, actions: &mut Vec<GiverAction>) {
        if !self.taken_over || !self.unanswered.is_empty() {
            return;
        }
        if self.is_moving() {
            actions.push(GiverAction::Send(ToNew::Finished));
        }
        self.enter(Phase::Over, None);
        actions.push(GiverAction::Exit);
    }

    fn enter(&mut self, phase: Phase, deadline: Option<Instant>) {
        self.phase = phase;
        self.deadline = deadline;
    }

    fn reason(&self) -> String {
        self.why.clone().unwrap_or_else(|| "the hand-over has ended".into())
    }
}
