//! Starting, controlling and joining a worker's thread.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{
    command::{
        Adoption, ListeningSockets, PendingUpdate, WorkerCommand, WorkerSetup, WorkerUpdate,
    },
    event_loop,
};
use crate::{
    join::join_by,
    net::{Notify, Reactor},
    session::{Drain, HandOver, HandOverOutcome, MovedSession, QuerySender},
};

/// How long all workers together may take to end: the time for the access log, plus a turn.
const JOIN_TIMEOUT: Duration = Duration::from_secs(7);

/// The control thread's handle of a worker.
pub struct Worker {
    commands: Sender<WorkerCommand>,
    notify: Arc<Notify>,
    thread: thread::JoinHandle<io::Result<()>>,
}

/// Reports the end of its thread when dropped, also after a panic.
struct EndReport(UnboundedSender<()>);

impl Drop for EndReport {
    fn drop(&mut self) {
        // Fails only if the proxy itself is ending.
        let _ = self.0.send(());
    }
}

/// Sessions that move to another process or from it.
impl Worker {
    /// Hands the sessions over to another process: each one that can move is sent to `order.to`, and
    /// waits for its [answer](Self::answer_hand_over).
    pub(crate) fn hand_over(&self, order: HandOver) {
        self.send(WorkerCommand::HandOver(order));
    }

    /// Passes the other process's answer for a session on.
    pub(crate) fn answer_hand_over(&self, session_id: u64, outcome: HandOverOutcome) {
        self.send(WorkerCommand::HandOverAnswer { session_id, outcome });
    }

    /// Ends the hand-over: sessions without an answer go on here.
    pub(crate) fn end_hand_over(&self) {
        self.send(WorkerCommand::HandOverEnd);
    }

    /// Takes sessions over from another process; the worker is that of their IDs, by
    /// [`worker_of`](crate::session::worker_of). They run once they are
    /// [started](Self::start_adopted). A command should have no more than some 32 sessions, as
    /// others wait for it. The reply is dropped if the worker has ended.
    pub(crate) fn adopt(&self, sessions: Vec<MovedSession>) -> oneshot::Receiver<Vec<Adoption>> {
        let (reply, answers) = oneshot::channel();
        self.send(WorkerCommand::Adopt { sessions, reply });
        answers
    }

    /// Starts sessions, once the old process has been told that they are here.
    pub(crate) fn start_adopted(&self, ids: Vec<u64>) {
        self.send(WorkerCommand::StartAdopted(ids));
    }

    /// Gives sessions up without an effect on their connections: the old process keeps them.
    pub(crate) fn give_up_adopted(&self, ids: Vec<u64>) {
        self.send(WorkerCommand::GiveUpAdopted(ids));
    }
}

impl Worker {
    /// Starts the thread. `ended` receives a message when the thread ends,
    /// also after a panic.
    pub fn start(setup: WorkerSetup, ended: UnboundedSender<()>) -> io::Result<Self> {
        let (commands, inbox) = channel();
        let (ready, started) = channel();
        let name = format!("worker-{}", setup.index);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _ended = EndReport(ended);
            let reactor = Reactor::new()?;
            // Fails only if the start was abandoned.
            let _ = ready.send(reactor.notify().clone());
            event_loop::run(&reactor, setup, &inbox)
        })?;
        match started.recv() {
            Ok(notify) => Ok(Self { commands, notify, thread }),
            Err(_) => Err(thread
                .join()
                .ok()
                .and_then(Result::err)
                .unwrap_or_else(|| io::Error::other("a worker thread ended during its start"))),
        }
    }

    /// Applies another configuration; existing sessions stay as they are.
    pub fn update(&self, update: WorkerUpdate) {
        self.send(WorkerCommand::Update(Box::new(update)));
    }

    /// Stops accepting and ends the sessions at the pace of `drain`; the worker ends with the last
    /// one.
    pub fn drain(&self, drain: Drain) {
        self.send(WorkerCommand::Drain(drain));
    }

    /// Ends all remaining sessions and handshakes.
    pub fn end_sessions(&self) {
        self.send(WorkerCommand::EndSessions);
    }

    /// Asks for duplicates of the listening sockets. The reply also tells the worker's index.
    pub(crate) fn share_sockets(
        &self,
        reply: UnboundedSender<(u16, io::Result<ListeningSockets>)>,
    ) {
        self.send(WorkerCommand::ShareSockets(reply));
    }

    /// Starts or stops accepting, while another process may accept from the same queues. `pending`
    /// is dropped once the worker has done so.
    pub(crate) fn accept(&self, accept: bool, pending: PendingUpdate) {
        self.send(WorkerCommand::Accept(accept, pending));
    }

    /// Closes the listening sockets, whose queues another process accepts. The worker ends with its
    /// last session.
    pub(crate) fn retire(&self) {
        self.send(WorkerCommand::Retire);
    }

    /// A function that sends queries to the worker.
    pub fn asker(&self) -> QuerySender {
        let (commands, notify) = (self.commands.clone(), self.notify.clone());
        // If the worker has ended, the query is dropped, and with it the sender of its reply.
        Box::new(move |question| {
            let _ = commands.send(WorkerCommand::Answer(question));
            Waker::from(notify.clone()).wake();
        })
    }

    /// Ends the worker and its sessions.
    pub fn stop(&self) {
        self.send(WorkerCommand::Stop);
    }

    /// Stops all workers and waits for them to end, for at most seven seconds in total.
    ///
    /// # Errors
    /// The error of the first worker that failed or has not ended.
    pub fn stop_all(workers: Vec<Self>) -> io::Result<()> {
        workers.iter().for_each(Self::stop);
        let deadline = Instant::now() + JOIN_TIMEOUT;
        let join = |worker: Self| {
            let name = worker.thread.thread().name().unwrap_or_default().to_owned();
            join_by(worker.thread, deadline)
                .unwrap_or_else(|error| Err(io::Error::other(format!("{name} {error}"))))
        };
        let joined: Vec<_> = workers.into_iter().map(join).collect();
        joined.into_iter().collect()
    }

    fn send(&self, command: WorkerCommand) {
        // Fails only if the worker has ended.
        let _ = self.commands.send(command);
        Waker::from(self.notify.clone()).wake();
    }
}
