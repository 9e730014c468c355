//! A worker's loop: commands, tasks, timers, the one-second sweep, and the access log.

use std::{
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, mpsc::Receiver},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::task::LocalSet;

use super::{
    command::{WorkerCommand, WorkerSetup, WorkerUpdate},
    listeners::WorkerListeners,
};
use crate::{
    access_log::WorkerLogs,
    config::Config,
    labels::EndCause,
    net::Reactor,
    session::{self, Adoptions, MovedSession, SessionSettings, WorkerContext},
    snapshot::Snapshot,
    upstream::WorkerSignal,
};

/// The interval of the sweep, which checks the idle and half-close limits; these are whole seconds.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long an ending worker waits for its access log.
const LOG_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an access log line may wait to be written together with others.
const MAX_LOG_DELAY: Duration = Duration::from_millis(100);

/// Runs a worker until it is told to stop or has drained.
pub(super) fn run(
    reactor: &Rc<Reactor>,
    setup: WorkerSetup,
    inbox: &Receiver<WorkerCommand>,
) -> io::Result<()> {
    let WorkerSetup { index, shared, update, first_session_id, accepts } = setup;
    let WorkerUpdate { snapshot, sockets, log, pending } = update;
    let settings = settings(&snapshot, log);
    let context = WorkerContext::new(index, reactor.clone(), &shared, settings, first_session_id);
    let mut tasks = pin!(LocalSet::new());
    let mut listeners = WorkerListeners::new(accepts);
    {
        let _entered = tasks.enter();
        listeners.adopt(&context, &snapshot.listeners, sockets, &pending);
    }
    drop((snapshot, pending));
    let waker = Waker::from(reactor.notify().clone());
    shared.signal.subscribe(waker.clone());
    let mut event_loop = EventLoop {
        context,
        listeners,
        adoptions: Adoptions::default(),
        handled_signals: shared.signal.count(),
        signal: shared.signal,
        draining: false,
    };
    waker.wake_by_ref();
    event_loop.run(tasks.as_mut(), &waker, inbox)
}

struct EventLoop {
    context: Rc<WorkerContext>,
    listeners: WorkerListeners,
    adoptions: Adoptions,
    signal: Arc<WorkerSignal>,
    /// The signal's count when the worker last acted on it.
    handled_signals: u64,
    draining: bool,
}

impl EventLoop {
    fn run(
        &mut self,
        mut tasks: Pin<&mut LocalSet>,
        waker: &Waker,
        inbox: &Receiver<WorkerCommand>,
    ) -> io::Result<()> {
        let reactor = self.context.reactor.clone();
        let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
        let mut next_flush = Instant::now();
        while self.run_turn(&reactor, tasks.as_mut(), waker, inbox) {
            let now = reactor.now();
            if now >= next_sweep {
                let _entered = tasks.enter();
                session::sweep(&self.context);
                next_sweep = now + SWEEP_INTERVAL;
            }
            let mut until = next_sweep;
            if self.context.log().has_lines() {
                if now >= next_flush {
                    self.context.log().flush();
                    next_flush = now + MAX_LOG_DELAY;
                } else {
                    until = until.min(next_flush);
                }
            }
            if self.draining && self.listeners.are_closed() && self.has_drained() {
                break;
            }
            reactor.wait(until.saturating_duration_since(now))?;
        }
        self.context.log().flush_within(LOG_EXIT_TIMEOUT);
        Ok(())
    }

    fn has_drained(&self) -> bool {
        self.context.unfinished() == 0 && self.context.lingering() == 0
    }

    /// Runs what is ready, within the turn's budget; false if the worker has to stop.
    fn run_turn(
        &mut self,
        reactor: &Reactor,
        mut tasks: Pin<&mut LocalSet>,
        waker: &Waker,
        inbox: &Receiver<WorkerCommand>,
    ) -> bool {
        loop {
            if reactor.notify().take() {
                let entered = tasks.enter();
                while let Ok(command) = inbox.try_recv() {
                    if !self.execute(command) {
                        return false;
                    }
                }
                let signals = self.signal.count();
                if self.handled_signals != signals {
                    self.handled_signals = signals;
                    session::on_worker_signal(&self.context);
                }
                drop(entered);
                // Runs some of the ready tasks; if others remain, the turn does not sleep.
                let _ = tasks.as_mut().poll(&mut Context::from_waker(waker));
            }
            // Work that could delay other tasks runs after them, within the budget.
            if !reactor.turn.admit() {
                return true;
            }
        }
    }

    /// Executes a command; false if the worker has to stop.
    fn execute(&mut self, command: WorkerCommand) -> bool {
        let context = &self.context;
        match command {
            WorkerCommand::Update(_) if self.draining => {}
            WorkerCommand::Update(update) => {
                let WorkerUpdate { snapshot, sockets, log, pending } = *update;
                context.adopt(settings(&snapshot, log));
                self.listeners.adopt(context, &snapshot.listeners, sockets, &pending);
                session::recount_clients(context, pending);
            }
            WorkerCommand::Drain(drain) => {
                self.draining = true;
                self.listeners.close(context);
                session::drain(context, drain);
            }
            WorkerCommand::ShareSockets(reply) => {
                // Fails if the control thread no longer waits.
                let _ = reply.send((context.worker, self.listeners.share()));
            }
            WorkerCommand::Accept(accept, pending) => {
                self.listeners.accept(accept);
                drop(pending);
            }
            WorkerCommand::Retire => {
                self.draining = true;
                self.listeners.abandon();
            }
            WorkerCommand::Answer(question) => session::answer_query(context, question),
            WorkerCommand::EndSessions => session::end_all_sessions(context, EndCause::Drain),
            WorkerCommand::HandOver(order) => session::start_hand_over(context, order),
            WorkerCommand::HandOverAnswer { session_id, outcome } => {
                session::answer_hand_over(context, session_id, outcome);
            }
            WorkerCommand::HandOverEnd => session::end_hand_over(context),
            WorkerCommand::Adopt { sessions, reply } => {
                let adopt = |moved: MovedSession| (moved.id, self.adoptions.adopt(context, moved));
                // Without a receiver, none of them is started.
                let _ = reply.send(sessions.into_iter().map(adopt).collect());
            }
            WorkerCommand::StartAdopted(ids) => self.adoptions.start(context, &ids),
            WorkerCommand::GiveUpAdopted(ids) => self.adoptions.give_up(&ids),
            WorkerCommand::Stop => return false,
        }
        true
    }
}

fn settings(snapshot: &Snapshot, log: WorkerLogs) -> SessionSettings<'_> {
    let Config { limits, timeouts, .. } = *snapshot.config;
    SessionSettings { pools: &snapshot.pools, limits, timeouts, log }
}
