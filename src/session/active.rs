//! The part of a session that its worker's sweep looks at.

use std::{cell::Cell, rc::Rc};

use tokio::task::spawn_local;

use super::{
    broker_search::stand_in,
    context::WorkerContext,
    evict::{LostViews, rebalance, takeover},
};
use crate::{
    config::Idle,
    labels::{EndBy, EndCause},
    limits::ConnectionPermit,
    net::{Stream, TcpOptions},
    session::{
        record::Record,
        scan::walk,
        table::{ACT, LOOK},
    },
    upstream::Lease,
};

/// What is added to 1.5 times the keep alive, so that the broker, whose job it is
/// (MQTT-3.1.2-24), acts first.
const IDLE_GRACE_SECONDS: u32 = 5;

/// A session that relays.
pub(in crate::session) struct ActiveSession {
    pub(in crate::session) tally: SessionCounters,
    pub(in crate::session) idle: IdleLimit,
    pub(in crate::session) client: Stream,
    pub(in crate::session) upstream: Stream,
    pub(in crate::session) record: Record,
    /// Whether the broker accepted the client; a refused one ends as a reject.
    pub(in crate::session) accepted: bool,
    pub(in crate::session) lease: Lease,
    /// Held for the count that ends with it.
    pub(in crate::session) pass: ConnectionPermit,
}

/// What changes while a session lasts.
#[derive(Default)]
pub(in crate::session) struct SessionCounters {
    pub(in crate::session) bytes_in: Cell<u64>,
    pub(in crate::session) bytes_out: Cell<u64>,
    /// How much of the two has been added to the metrics.
    counted: Cell<(u64, u64)>,
    /// The second of the worker's life in which something last came.
    active: Cell<u32>,
    /// The side that takes nothing, so that the other one, who is to be heard of, is not read.
    held_back_by: Cell<Option<EndBy>>,
    /// The second in which one side ended while the other went on; 0: neither has.
    pub(in crate::session) half_closed: Cell<u32>,
    /// Set by the proxy when it ends the session.
    pub(in crate::session) verdict: Cell<Option<EndCause>>,
    /// Whether TCP has been asked to watch over the broker's side.
    guarded: Cell<bool>,
    /// Whether it waits to be ended because its broker is down or was removed.
    pub(in crate::session) queued_to_end: Cell<bool>,
}

/// How long a session may be silent, in seconds; 0: for ever.
#[derive(Clone, Copy)]
pub(in crate::session) struct IdleLimit {
    seconds: u32,
    /// A keep alive binds the client; what the broker sends does not count for it.
    pub(in crate::session) client_only: bool,
}

impl IdleLimit {
    /// `keep_alive` is the one in force, in seconds (MQTT 5.0 3.1.2.10 and 3.2.2.3.14).
    pub(in crate::session) fn new(idle: Idle, keep_alive: u16) -> Self {
        match idle {
            Idle::Never => Self { seconds: 0, client_only: false },
            Idle::After(limit) => {
                let seconds = limit.as_secs_f64().ceil() as u32;
                Self { seconds: seconds.max(1), client_only: false }
            }
            Idle::KeepAlive if keep_alive == 0 => Self { seconds: 0, client_only: true },
            Idle::KeepAlive => {
                let limit = (u32::from(keep_alive) * 3).div_ceil(2);
                Self { seconds: limit + IDLE_GRACE_SECONDS, client_only: true }
            }
        }
    }
}

impl ActiveSession {
    pub(in crate::session) fn count_in(&self, bytes: u64, now: u32) {
        self.tally.bytes_in.set(self.tally.bytes_in.get() + bytes);
        self.tally.active.set(now);
    }

    pub(in crate::session) fn count_out(&self, bytes: u64, now: u32) {
        self.tally.bytes_out.set(self.tally.bytes_out.get() + bytes);
        if !self.idle.client_only {
            self.tally.active.set(now);
        }
    }

    /// Notes who is not read, and so is not silent: the client, or with `timeouts.idle` either side.
    pub(in crate::session) fn hold_back(&self, client: bool, upstream: bool, now: u32) {
        let by = match (client, upstream && !self.idle.client_only) {
            (true, _) => Some(EndBy::Upstream),
            (_, true) => Some(EndBy::Client),
            _ => None,
        };
        if self.tally.held_back_by.replace(by).is_some() && by.is_none() {
            self.tally.active.set(now);
        }
    }

    /// Adds what has been relayed since the last time to the broker's metrics.
    pub(in crate::session) fn flush_bytes(&self) {
        let (counted_in, counted_out) = self.tally.counted.get();
        let (bytes_in, bytes_out) = (self.tally.bytes_in.get(), self.tally.bytes_out.get());
        if (bytes_in, bytes_out) != (counted_in, counted_out) {
            let metrics = &self.lease.broker().metrics;
            metrics.bytes_in.inc_by(bytes_in.saturating_sub(counted_in));
            metrics.bytes_out.inc_by(bytes_out.saturating_sub(counted_out));
            self.tally.counted.set((bytes_in, bytes_out));
        }
    }

    fn overdue(&self, context: &WorkerContext, now: u32) -> Option<EndCause> {
        if let Some(cause) = self.idle(now) {
            return Some(cause);
        }
        if self.client.is_near_key_limit() || self.upstream.is_near_key_limit() {
            return Some(EndCause::KeyLimit);
        }
        let half_closed = self.tally.half_closed.get();
        let limit = context.timeouts.get().half_close.as_secs_f64().ceil() as u32;
        (half_closed > 0 && now - half_closed > limit).then_some(EndCause::Timeout)
    }

    fn idle(&self, now: u32) -> Option<EndCause> {
        if self.idle.seconds == 0 || now - self.tally.active.get() <= self.idle.seconds {
            return None;
        }
        let holds_back = match self.tally.held_back_by.get() {
            None => return Some(EndCause::Idle),
            Some(EndBy::Client) => &self.client,
            Some(_) => &self.upstream,
        };
        // TCP watches over a side that takes nothing (`tcp_user_timeout`); nothing does on unix
        // sockets.
        holds_back.socket().is_unix().then_some(EndCause::Timeout)
    }

    /// Has the relay end the session, for the reason given.
    pub(in crate::session) fn end(&self, cause: EndCause) {
        self.tally.verdict.set(Some(cause));
        self.client.wake();
    }

    /// Sets the options that guard against a peer that vanishes. They act after many seconds, so
    /// they are left to the first sweep, and the many connections that end before it do without.
    /// The client's side has them from its listener. Tells whether that had yet to be done.
    fn guard(&self, context: &WorkerContext) -> bool {
        let is_new = !self.tally.guarded.replace(true);
        if is_new {
            self.upstream.set_options(TcpOptions::towards_brokers(&context.timeouts.get()));
        }
        is_new
    }
}

/// Starts the once-a-second round of all sessions of a worker: byte counts, idle and half-close
/// limits, and brokers that are down or were removed. One that is under way is followed by another.
pub fn sweep(context: &Rc<WorkerContext>) {
    for view in context.views() {
        // So that brokers that are gone are not kept by a worker without connects.
        view.refresh();
    }
    match context.sweep.get() {
        Sweep::Resting => {
            context.sweep.set(Sweep::Running);
            spawn_local(sweep_all(Sweeping(context.clone())));
        }
        Sweep::Running | Sweep::Again => context.sweep.set(Sweep::Again),
    }
}

/// Whether the sessions of a worker are being swept.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::session) enum Sweep {
    #[default]
    Resting,
    Running,
    /// Once more when the round that is under way has ended.
    Again,
}

/// Rests when it is dropped, after a panic too.
struct Sweeping(Rc<WorkerContext>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.sweep.set(Sweep::Resting);
    }
}

async fn sweep_all(sweeping: Sweeping) {
    let context = &sweeping.0;
    loop {
        context.sweep.set(Sweep::Running);
        let mut lost = LostViews::default();
        walk(context, |slot, live| {
            live.flush_bytes();
            lost.look_at(slot, live);
            let mut cost = if live.guard(context) { ACT } else { LOOK };
            if let Some(cause) = live.overdue(context, context.seconds()) {
                live.end(cause);
                cost += ACT;
            }
            cost
        })
        .await;
        lost.end_all(context);
        if context.sweep.get() != Sweep::Again {
            return;
        }
    }
}

/// What the signal was rung for: brokers that died or returned, clients that have moved on or come
/// back.
pub fn on_worker_signal(context: &Rc<WorkerContext>) {
    takeover::end_older(context);
    stand_in::answer(context);
    let mut died = false;
    for view in &context.views().collect::<Vec<_>>() {
        let deaths = view.pool.deaths();
        died |= view.deaths.replace(deaths) != deaths;
        rebalance::start(context, view);
    }
    if died {
        sweep(context);
    }
}

/// Counts clients by their address as the limits are now; `done` is dropped then.
pub fn recount_addresses(context: &Rc<WorkerContext>, done: impl Sized + 'static) {
    let context = context.clone();
    spawn_local(async move {
        walk(&context, |_, live| {
            live.pass.recount();
            LOOK
        })
        .await;
        drop(done);
    });
}

/// Ends every session and every handshake, at the end of a drain. None begins after it.
pub fn end_all_sessions(context: &Rc<WorkerContext>, cause: EndCause) {
    context.ending.set(Some(cause));
    let context = context.clone();
    spawn_local(async move {
        walk(&context, |_, live| {
            live.end(cause);
            ACT
        })
        .await;
        let mut from = Some(0);
        while let Some(slot) = from {
            context.reactor.turn.walks.turn().await;
            from = context.reactor.wake_some(slot);
        }
    });
}
