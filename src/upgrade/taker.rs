//! What the new process does, without I/O: events in, actions out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    giver::MAX_UNANSWERED,
    message::{Answer, ToNew, ToOld, VERSIONS, Versions},
};

/// How long the old process may take for its next message until `Go`.
const OLD_PROCESS_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(crate) enum TakerEvent<'a> {
    Message(&'a ToNew),
    /// The old process has ended. Told before the event that it shows in.
    OldEnded,
    Closed,
    Unreadable(&'a str),
    /// The message of the last [`TakerAction::Commit`] was written whole.
    Committed,
    /// It was not.
    CommitFailed(&'a str),
    /// The message of a [`TakerAction::Send`] was not written whole.
    SendFailed(&'a str),
    /// [`Taker::deadline`] has passed.
    TimedOut,
    /// This process could accept at once.
    Prepared,
    /// This process cannot take over.
    Failed(&'a str),
    /// A session has been adopted, though it is not started, or why it was not.
    Adopted(u64, Result<(), &'a str>),
    /// This process was told to stop.
    Stop,
    ReopenLogs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TakerAction {
    Send(ToOld),
    /// Send it, then tell whether it was written whole: nothing it says is done before.
    Commit(ToOld),
    /// Keep what the message carries.
    Keep,
    /// All has come: get ready.
    Prepare,
    Accept,
    /// Adopt the sessions of the message.
    Adopt,
    Start(Vec<u64>),
    /// The old process resumes them: forget them without a trace for client and broker.
    Discard(Vec<u64>),
    /// The old process has ended its last session.
    Finished,
    /// Close the connection and serve on; the reason why the hand-over has ended early, if it has.
    Close(Option<String>),
    Exit(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Hello,
    State,
    Preparing,
    Ready,
    /// `Accepting` is being written.
    Committing,
    Serving,
    Over,
}

/// The new process's side. Until `Accepting` has been written any failure ends the process, except
/// that the old one ends once the state has come; from then on it ends only the hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Taker {
    phase: Phase,
    deadline: Option<Instant>,
    /// Every session that has come: none comes twice.
    seen: BTreeSet<u64>,
    adopting: BTreeSet<u64>,
    /// Adopted or not, and not yet answered.
    outcomes: BTreeMap<u64, Result<(), String>>,
    /// The answers that are being written.
    answering: Vec<Answer>,
    finished: bool,
    old_has_ended: bool,
    /// Why the hand-over ends, once what is being written has been.
    why: Option<String>,
}

impl Taker {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Hello,
            deadline: Some(now + OLD_PROCESS_TIMEOUT),
            seen: BTreeSet::new(),
            adopting: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            answering: Vec::new(),
            finished: false,
            old_has_ended: false,
            why: None,
        }
    }

    /// When [`TakerEvent::TimedOut`] is due; changes with any event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether this process serves alone should the old one end now.
    pub(crate) fn could_serve_alone(&self) -> bool {
        matches!(self.phase, Phase::Preparing | Phase::Ready | Phase::Committing)
    }

    /// The actions are to be done in their order.
    pub(crate) fn handle(&mut self, event: TakerEvent<'_>, now: Instant) -> Vec<TakerAction> {
        let mut actions = Vec::new();
        if self.is_over() {
            return actions;
        }
        match event {
            TakerEvent::Message(message) => self.receive(message, now, &mut actions),
            TakerEvent::OldEnded => self.old_has_ended = true,
            TakerEvent::Closed => {
                self.disconnected("the old process has closed the connection", &mut actions);
            }
            TakerEvent::SendFailed(why) => self.disconnected(why, &mut actions),
            TakerEvent::Unreadable(why) => self.end(why, &mut actions),
            TakerEvent::Committed => self.committed(&mut actions),
            TakerEvent::CommitFailed(why) => self.commit_failed(why, &mut actions),
            TakerEvent::TimedOut => {
                self.end("the old process did not answer in time", &mut actions);
            }
            TakerEvent::Prepared if self.phase == Phase::Preparing => {
                self.enter(Phase::Ready, Some(now + OLD_PROCESS_TIMEOUT));
                actions.push(TakerAction::Send(ToOld::Ready));
            }
            TakerEvent::Failed(why) if !self.is_serving() => self.end(why, &mut actions),
            TakerEvent::Adopted(id, outcome) => {
                if self.adopting.remove(&id) {
                    self.outcomes.insert(id, outcome.map_err(str::to_owned));
                    self.answer(&mut actions);
                }
            }
            TakerEvent::Stop if self.is_serving() => actions.push(TakerAction::Send(ToOld::Drain)),
            TakerEvent::ReopenLogs if self.is_serving() => {
                actions.push(TakerAction::Send(ToOld::ReopenLogs));
            }
            TakerEvent::Stop => self.end("the new process was told to stop", &mut actions),
            TakerEvent::Prepared | TakerEvent::Failed(_) | TakerEvent::ReopenLogs => {}
        }
        actions
    }

    fn receive(&mut self, message: &ToNew, now: Instant, actions: &mut Vec<TakerAction>) {
        match (self.phase, message) {
            // The hand-over ends as soon as the answers have been written.
            _ if self.why.is_some() => {}
            (Phase::Hello, ToNew::Hello { versions, .. }) => self.hello(*versions, now, actions),
            (
                Phase::State,
                ToNew::Listeners(_) | ToNew::AdminListener(_) | ToNew::InheritedSockets(_),
            ) => {
                self.deadline = Some(now + OLD_PROCESS_TIMEOUT);
                actions.push(TakerAction::Keep);
            }
            (Phase::State, ToNew::State(_)) => {
                self.enter(Phase::Preparing, None);
                actions.extend([TakerAction::Keep, TakerAction::Prepare]);
            }
            (Phase::Ready, ToNew::Go) => {
                self.enter(Phase::Committing, None);
                actions.push(TakerAction::Commit(ToOld::Accepting));
            }
            (Phase::Serving, ToNew::Sessions(sessions)) if !self.finished => {
                for session in sessions {
                    if !self.seen.insert(session.id) {
                        let why = format!("session {} came twice", session.id);
                        return self.end(&why, actions);
                    }
                    self.adopting.insert(session.id);
                }
                if self.adopting.len() + self.outcomes.len() + self.answering.len() > MAX_UNANSWERED
                {
                    return self.end("too many sessions without an answer", actions);
                }
                actions.push(TakerAction::Adopt);
            }
            // The old process counts no more connections once it has stopped accepting.
            (Phase::Ready | Phase::Serving, ToNew::Totals(_))
            | (Phase::Serving, ToNew::Remaining { .. }) => actions.push(TakerAction::Keep),
            (Phase::Serving, ToNew::Finished) => {
                self.finished = true;
                actions.push(TakerAction::Finished);
            }
            (phase, _) => self.end(&format!("unexpected message in phase {phase:?}"), actions),
        }
    }

    fn hello(&mut self, theirs: Versions, now: Instant, actions: &mut Vec<TakerAction>) {
        let Some(version) = VERSIONS.newest_in_common(theirs) else {
            let why = format!(
                "the old process knows the versions {} to {} of the hand-over, the new one {} to {}",
                theirs.min, theirs.max, VERSIONS.min, VERSIONS.max
            );
            return self.end(&why, actions);
        };
        self.enter(Phase::State, Some(now + OLD_PROCESS_TIMEOUT));
        let program = env!("CARGO_PKG_VERSION").to_owned();
        actions.push(TakerAction::Send(ToOld::Hello { version, program }));
    }

    fn committed(&mut self, actions: &mut Vec<TakerAction>) {
        if self.phase == Phase::Committing {
            self.enter(Phase::Serving, None);
            actions.push(TakerAction::Accept);
        }
        let answers = std::mem::take(&mut self.answering);
        let taken: Vec<_> = answers
            .iter()
            .filter(|answer| answer.outcome.is_ok())
            .map(|answer| answer.id)
            .collect();
        if !taken.is_empty() {
            actions.push(TakerAction::Start(taken));
        }
        match self.why.take() {
            Some(why) => self.end(&why, actions),
            None => self.answer(actions),
        }
    }

    /// Writes the answers that there are, if none are being written.
    fn answer(&mut self, actions: &mut Vec<TakerAction>) {
        if self.why.is_none() && self.answering.is_empty() && !self.outcomes.is_empty() {
            let outcomes = std::mem::take(&mut self.outcomes).into_iter();
            self.answering = outcomes.map(|(id, outcome)| Answer { id, outcome }).collect();
            actions.push(TakerAction::Commit(ToOld::Answers(self.answering.clone())));
        }
    }

    /// The old process never reads what was being written, and resumes those sessions.
    fn commit_failed(&mut self, why: &str, actions: &mut Vec<TakerAction>) {
        self.why.get_or_insert_with(|| why.to_owned());
        for answer in std::mem::take(&mut self.answering) {
            self.outcomes.insert(answer.id, answer.outcome);
        }
        if self.phase == Phase::Committing {
            self.phase = Phase::Ready;
        }
        self.disconnected(why, actions);
    }

    /// Nothing more can be sent or received. If the old process has ended, nobody accepts but this
    /// process can.
    fn disconnected(&mut self, why: &str, actions: &mut Vec<TakerAction>) {
        match self.phase {
            // Sending `Ready` fails.
            Phase::Preparing if self.old_has_ended => {}
            Phase::Ready if self.old_has_ended => {
                let why = "the old process has ended before this one accepted".to_owned();
                actions.extend([TakerAction::Close(Some(why)), TakerAction::Accept]);
                self.enter(Phase::Over, None);
            }
            _ => self.end(why, actions),
        }
    }

    /// Ends the hand-over, and before `Accepting` the process. What is being written decides first:
    /// if it is written whole, the old process acts on it.
    fn end(&mut self, why: &str, actions: &mut Vec<TakerAction>) {
        let why = self.why.take().unwrap_or_else(|| why.to_owned());
        if self.phase == Phase::Committing || !self.answering.is_empty() {
            self.why = Some(why);
            return;
        }
        if !self.is_serving() {
            actions.push(TakerAction::Send(ToOld::Failed { why: why.clone() }));
            actions.push(TakerAction::Exit(why));
            return self.enter(Phase::Over, None);
        }
        let mut unanswered = std::mem::take(&mut self.adopting);
        let outcomes = std::mem::take(&mut self.outcomes).into_iter();
        unanswered.extend(outcomes.filter_map(|(id, outcome)| outcome.is_ok().then_some(id)));
        if !unanswered.is_empty() {
            actions.push(TakerAction::Discard(unanswered.into_iter().collect()));
        }
        actions.push(TakerAction::Close((!self.finished).then_some(why)));
        self.seen = BTreeSet::new();
        self.enter(Phase::Over, None);
    }

    fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    fn enter(&mut self, phase: Phase, deadline: Option<Instant>) {
        self.phase = phase;
        self.deadline = deadline;
    }
}
