//! One thread: its event loop, its listeners, its sessions, its one-second sweep.

mod accept;
mod listeners;

use std::{
    io,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use listeners::WorkerListeners;
use tokio::{sync::mpsc::UnboundedSender, task::LocalSet};

use crate::{
    access_log::WorkerLogs,
    config::Config,
    join::join_by,
    labels::EndCause,
    net::{Notify, Reactor},
    session::{
        self, Drain, ProcessContext, QuerySender, SessionQuery, SessionSettings, WorkerContext,
    },
    snapshot::Snapshot,
};

/// How often idle and half-close limits are looked at, which are whole seconds.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a worker that ends waits for its access log.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// How long all workers together may take to end: that, and a turn of theirs.
const JOIN_PATIENCE: Duration = Duration::from_secs(7);

/// How long an access log line may wait to be written with others.
const LOG_DELAY: Duration = Duration::from_millis(100);

/// What one worker is made of.
pub struct Setup {
    /// Its number among the workers.
    pub index: u16,
    pub shared: ProcessContext,
    pub adoption: Adoption,
    pub first_session_id: u64,
}

/// A new configuration for a worker.
pub struct Adoption {
    pub snapshot: Arc<Snapshot>,
    /// Its own sockets of the listeners that are new, by their [`Listener::id`](crate::listener::Listener::id).
    pub sockets: Vec<(u64, OwnedFd)>,
    pub log: WorkerLogs,
    /// Dropped once the worker has applied it.
    pub adopting: Adopting,
}

/// Held by workers that have yet to apply a configuration.
pub type Adopting = tokio::sync::mpsc::Sender<()>;

/// A worker's handle, for the thread that steers.
pub struct Worker {
    orders: Sender<Order>,
    notify: Arc<Notify>,
    thread: thread::JoinHandle<io::Result<()>>,
}

/// Dropped with its thread, in a panic too.
struct Ended(UnboundedSender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody listens any more once the proxy itself ends.
        let _ = self.0.send(());
    }
}

/// What a worker can be told.
enum Order {
    Adopt(Box<Adoption>),
    Drain(Drain),
    EndSessions,
    Answer(SessionQuery),
    Stop,
}

impl Worker {
    /// Starts the thread; it accepts at once. `ended` is told when it ends, however it does.
    pub fn start(setup: Setup, ended: UnboundedSender<()>) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let (ready, started) = channel();
        let name = format!("worker-{}", setup.index);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _ended = Ended(ended);
            let reactor = Reactor::new()?;
            // Nobody waits for it any more only if the start was given up.
            let _ = ready.send(reactor.notify().clone());
            run(&reactor, setup, &inbox)
        })?;
        match started.recv() {
            Ok(notify) => Ok(Self { orders, notify, thread }),
            Err(_) => Err(thread
                .join()
                .ok()
                .and_then(Result::err)
                .unwrap_or_else(|| io::Error::other("a worker thread ended before it began"))),
        }
    }

    /// Applies another configuration; its sessions stay as they are.
    pub fn adopt(&self, adoption: Adoption) {
        self.order(Order::Adopt(Box::new(adoption)));
    }

    /// Stops accepting and ends its sessions one after the other; the worker ends with the last.
    pub fn drain(&self, drain: Drain) {
        self.order(Order::Drain(drain));
    }

    /// Ends the sessions and handshakes that are left.
    pub fn end_sessions(&self) {
        self.order(Order::EndSessions);
    }

    /// The way to ask it something.
    pub fn asker(&self) -> QuerySender {
        let (orders, notify) = (self.orders.clone(), self.notify.clone());
        // The answer of a worker that has ended is that there is none.
        Box::new(move |question| {
            let _ = orders.send(Order::Answer(question));
            Waker::from(notify.clone()).wake();
        })
    }

    /// Leaves everything where it is.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Has all of them stop, and waits for their end; one that is stuck keeps nobody.
    ///
    /// # Errors
    /// Of the first that failed, or has not ended.
    pub fn stop_all(workers: Vec<Self>) -> io::Result<()> {
        workers.iter().for_each(Self::stop);
        let deadline = Instant::now() + JOIN_PATIENCE;
        let join = |worker: Self| {
            let name = worker.thread.thread().name().unwrap_or_default().to_owned();
            join_by(worker.thread, deadline)
                .unwrap_or_else(|error| Err(io::Error::other(format!("{name} {error}"))))
        };
        let joined: Vec<_> = workers.into_iter().map(join).collect();
        joined.into_iter().collect()
    }

    fn order(&self, order: Order) {
        // A worker that has ended needs no orders.
        let _ = self.orders.send(order);
        Waker::from(self.notify.clone()).wake();
    }
}

fn run(reactor: &Rc<Reactor>, setup: Setup, inbox: &Receiver<Order>) -> io::Result<()> {
    let Setup { index, shared, adoption, first_session_id } = setup;
    let Adoption { snapshot, sockets, log, adopting } = adoption;
    let context = WorkerContext::new(
        index,
        reactor.clone(),
        &shared,
        terms(&snapshot, log),
        first_session_id,
    );
    let signal = shared.signal;
    let mut tasks = pin!(LocalSet::new());
    let mut listeners = WorkerListeners::default();
    {
        let _tasks = tasks.enter();
        listeners.adopt(&context, &snapshot.listeners, sockets, &adopting);
    }
    drop((snapshot, adopting));
    let notify = reactor.notify().clone();
    let waker = Waker::from(notify.clone());
    let mut cx = Context::from_waker(&waker);
    signal.listen(waker.clone());
    let mut heard = signal.rings();
    let mut draining = false;
    let mut next_sweep = Instant::now() + SWEEP;
    let mut next_flush = Instant::now();
    waker.wake_by_ref();
    loop {
        loop {
            if notify.take() {
                while let Ok(order) = inbox.try_recv() {
                    let _tasks = tasks.enter();
                    match order {
                        Order::Adopt(_) if draining => {}
                        Order::Adopt(adoption) => {
                            let Adoption { snapshot, sockets, log, adopting } = *adoption;
                            context.adopt(terms(&snapshot, log));
                            listeners.adopt(&context, &snapshot.listeners, sockets, &adopting);
                            session::recount_addresses(&context, adopting);
                        }
                        Order::Drain(drain) => {
                            draining = true;
                            listeners.close(&context);
                            session::drain(&context, drain);
                        }
                        Order::Answer(question) => session::answer_query(&context, question),
                        Order::EndSessions => session::end_all_sessions(&context, EndCause::Drain),
                        Order::Stop => {
                            context.log().hand_over(EXIT_PATIENCE);
                            return Ok(());
                        }
                    }
                }
                let rings = signal.rings();
                if heard != rings {
                    heard = rings;
                    let _tasks = tasks.enter();
                    session::on_worker_signal(&context);
                }
                // A share of the tasks that are ready; if some are left, the turn does not sleep.
                let _ = tasks.as_mut().poll(&mut cx);
            }
            // What could keep others waiting comes after them, as far as the turn's budget goes.
            if !reactor.turn.admit() {
                break;
            }
        }
        let now = reactor.now();
        if now >= next_sweep {
            let _tasks = tasks.enter();
            session::sweep(&context);
            next_sweep = now + SWEEP;
        }
        let mut until = next_sweep;
        if context.log().is_dirty() {
            if now >= next_flush {
                context.log().flush();
                next_flush = now + LOG_DELAY;
            } else {
                until = until.min(next_flush);
            }
        }
        if draining && listeners.are_closed() && context.unfinished() == 0 {
            context.log().hand_over(EXIT_PATIENCE);
            return Ok(());
        }
        reactor.wait(until.saturating_duration_since(now))?;
    }
}

fn terms(snapshot: &Snapshot, log: WorkerLogs) -> SessionSettings<'_> {
    let Config { limits, timeouts, .. } = *snapshot.config;
    SessionSettings { pools: &snapshot.pools, limits, timeouts, log }
}
