//! Both machines, joined by a stream, each in a process that can fail.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use super::super::{
    Giver, GiverAction, GiverEvent, HandedSession, Taker, TakerAction, TakerEvent, ToNew, ToOld,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AtOld {
    Active,
    Parked,
    Released,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AtNew {
    Unknown,
    Held,
    Started,
}

/// A commit of the new process: still to be written, or written, which it has not noticed yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Commit {
    Unwritten(ToOld),
    Written,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OldProcess {
    pub(super) giver: Giver,
    pub(super) alive: bool,
    /// It has ended too early.
    pub(super) died: bool,
    pub(super) accepting: bool,
    pub(super) sender_open: bool,
    /// Sends fail from here on.
    pub(super) broken: bool,
    pub(super) reads: bool,
    pub(super) knows_exit: bool,
    pub(super) state_wanted: bool,
    pub(super) stop_wanted: bool,
    pub(super) parking: bool,
    pub(super) draining: bool,
    pub(super) failed: bool,
    pub(super) outbox: VecDeque<ToNew>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NewProcess {
    pub(super) taker: Taker,
    pub(super) alive: bool,
    /// Does nothing any more, but its workers accept if they did.
    pub(super) hangs: bool,
    pub(super) accepting: bool,
    pub(super) open: bool,
    pub(super) broken: bool,
    pub(super) reads: bool,
    pub(super) stopping: bool,
    pub(super) prepare_wanted: bool,
    pub(super) prepared: bool,
    pub(super) adopting: BTreeSet<u64>,
    pub(super) commit: Option<Commit>,
    pub(super) outbox: VecDeque<ToOld>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) old: OldProcess,
    pub(super) new: NewProcess,
    pub(super) sessions: Vec<(AtOld, AtNew)>,
    pub(super) asked: Vec<bool>,
    /// A session that no frame can carry.
    pub(super) too_large: Option<u64>,
    pub(super) faults_left: u8,
    pub(super) faults: u8,
    now: Instant,
}

impl World {
    pub(super) fn new(sessions: usize, faults: u8, now: Instant) -> Self {
        let (giver, hello) = Giver::new("1".into(), 1, now);
        let GiverAction::Send(hello) = hello else { panic!("{hello:?}") };
        Self {
            old: OldProcess {
                giver,
                alive: true,
                died: false,
                accepting: true,
                sender_open: true,
                broken: false,
                reads: true,
                knows_exit: false,
                state_wanted: false,
                stop_wanted: false,
                parking: false,
                draining: false,
                failed: false,
                outbox: [hello].into(),
            },
            new: NewProcess {
                taker: Taker::new(now),
                alive: true,
                hangs: false,
                accepting: false,
                open: true,
                broken: false,
                reads: true,
                stopping: false,
                prepare_wanted: false,
                prepared: false,
                adopting: BTreeSet::new(),
                commit: None,
                outbox: VecDeque::new(),
            },
            sessions: vec![(AtOld::Active, AtNew::Unknown); sessions],
            asked: vec![false; sessions],
            too_large: None,
            faults_left: faults,
            faults: 0,
            now,
        }
    }

    pub(super) fn kill_new(&mut self) {
        self.new.alive = false;
        self.new.open = false;
        self.new.commit = None;
    }

    pub(super) fn kill_old(&mut self) {
        self.old.alive = false;
        self.old.sender_open = false;
    }

    pub(super) fn tell_old(&mut self, event: GiverEvent) {
        for action in self.old.giver.handle(event, self.now) {
            self.do_old(action);
        }
    }

    fn send_old(&mut self, message: ToNew) {
        if self.old.broken || !self.old.sender_open || !self.new.open {
            self.old.broken = true;
            self.tell_old(GiverEvent::SendFailed("broken".into()));
        } else {
            self.old.outbox.push_back(message);
        }
    }

    fn do_old(&mut self, action: GiverAction) {
        match action {
            GiverAction::Send(message) => self.send_old(message),
            GiverAction::SendState => self.old.state_wanted = true,
            GiverAction::StopAccepting => self.old.stop_wanted = true,
            GiverAction::ResumeAccepting => {
                self.old.stop_wanted = false;
                self.old.accepting = true;
            }
            GiverAction::TakenOver => self.old.parking = true,
            GiverAction::SendSession(id) => {
                if self.too_large == Some(id) {
                    return self.tell_old(GiverEvent::NotSent { id, why: "too large".into() });
                }
                let session = HandedSession { id, ..HandedSession::default() };
                self.send_old(ToNew::Sessions(vec![session]));
            }
            GiverAction::Release(id) => self.unpark(id, AtOld::Released),
            GiverAction::Resume { id, .. } => self.unpark(id, AtOld::Active),
            GiverAction::Drain => self.old.draining = true,
            GiverAction::CloseSender => self.old.sender_open = false,
            GiverAction::Kill => self.kill_new(),
            GiverAction::Failed(_) => self.old.failed = true,
            GiverAction::Exit => self.kill_old(),
            GiverAction::Interrupted(_) | GiverAction::Reclaimed(_) | GiverAction::ReopenLogs => {}
        }
    }

    fn unpark(&mut self, id: u64, to: AtOld) {
        let session = &mut self.sessions[id as usize].0;
        assert_eq!(*session, AtOld::Parked);
        *session = to;
    }

    /// Collects and sends what the new process needs.
    pub(super) fn send_state(&mut self) {
        self.old.state_wanted = false;
        for message in [ToNew::Listeners(Vec::new()), ToNew::State(Box::default())] {
            self.send_old(message);
        }
        self.tell_old(GiverEvent::StateSent);
    }

    pub(super) fn tell_new(&mut self, event: TakerEvent<'_>, message: Option<&ToNew>) {
        for action in self.new.taker.handle(event, self.now) {
            self.do_new(action, message);
        }
    }

    pub(super) fn tell_new_if_old_ended(&mut self) {
        if !self.old.alive {
            self.tell_new(TakerEvent::OldEnded, None);
        }
    }

    fn send_new(&mut self, message: ToOld) -> bool {
        self.new.broken |= !self.new.open || !self.old.alive;
        if !self.new.broken {
            self.new.outbox.push_back(message);
        }
        !self.new.broken
    }

    fn do_new(&mut self, action: TakerAction, message: Option<&ToNew>) {
        match action {
            TakerAction::Send(message) => {
                if !self.send_new(message) {
                    self.tell_new_if_old_ended();
                    self.tell_new(TakerEvent::SendFailed("broken"), None);
                }
            }
            TakerAction::Commit(message) => {
                assert_eq!(self.new.commit, None, "two commits at once");
                self.new.commit = Some(Commit::Unwritten(message));
            }
            TakerAction::Prepare => self.new.prepare_wanted = true,
            TakerAction::Accept => self.new.accepting = true,
            TakerAction::Adopt => {
                let Some(ToNew::Sessions(sessions)) = message else { panic!("{message:?}") };
                for session in sessions {
                    self.sessions[session.id as usize].1 = AtNew::Held;
                    self.new.adopting.insert(session.id);
                }
            }
            TakerAction::Start(ids) => self.change_held(&ids, AtNew::Started),
            TakerAction::Discard(ids) => self.change_held(&ids, AtNew::Unknown),
            TakerAction::Close(_) => self.new.open = false,
            TakerAction::Exit(_) => self.kill_new(),
            TakerAction::Keep | TakerAction::Finished => {}
        }
    }

    fn change_held(&mut self, ids: &[u64], to: AtNew) {
        for &id in ids {
            self.new.adopting.remove(&id);
            assert_eq!(self.sessions[id as usize].1, AtNew::Held);
            self.sessions[id as usize].1 = to;
        }
    }

    pub(super) fn adopted(&mut self, id: u64, outcome: Result<(), &str>) {
        self.new.adopting.remove(&id);
        if outcome.is_err() {
            self.sessions[id as usize].1 = AtNew::Unknown;
        }
        self.tell_new(TakerEvent::Adopted(id, outcome), None);
    }

    /// Writes what is to be committed, or notices that it has been written.
    pub(super) fn go_on_with_commit(&mut self) {
        match self.new.commit.take() {
            Some(Commit::Unwritten(message)) => {
                if self.send_new(message) {
                    self.new.commit = Some(Commit::Written);
                } else {
                    self.tell_new_if_old_ended();
                    self.tell_new(TakerEvent::CommitFailed("broken"), None);
                }
            }
            Some(Commit::Written) => self.tell_new(TakerEvent::Committed, None),
            None => {}
        }
    }
}
