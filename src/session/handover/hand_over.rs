//! The old process: asks a worker's sessions to park, passes their states on, and acts on the
//! answers.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::spawn_local};

use super::departures::{ParkedSession, SessionKey, StayCounts};
use crate::{
    labels::StayReason,
    net::deadline,
    session::{
        active::ActiveSession, context::WorkerContext, counters::Departure, evict::release_client,
        table::VISIT_COST, walk::walk,
    },
};

/// How many sessions are asked in a turn: each costs some 10 µs, during which messages of others
/// wait.
const MAX_ASKED_PER_TURN: usize = 32;

/// How often a hand-over that waits for handshakes looks whether they have ended.
const HANDSHAKE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Has a worker hand its sessions over.
pub(crate) struct HandOver {
    /// Receives the sessions that have parked. It is closed once all sessions have moved, stay or
    /// have ended, and no handshake is left that could become one.
    pub(crate) to: mpsc::Sender<ParkedSession>,
    /// The most sessions without an answer at a time.
    pub(crate) at_most: usize,
    /// Counts the sessions that stay.
    pub(crate) stays: Arc<StayCounts>,
}

/// The answer of the other process to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOverOutcome {
    Taken,
    Refused(StayReason),
}

/// Starts to hand the sessions over. A hand-over that still runs ends.
pub(crate) fn start_hand_over(context: &Rc<WorkerContext>, order: HandOver) {
    end_hand_over(context);
    let HandOver { to, at_most, stays } = order;
    let number = context.departures.begin(at_most, &stays);
    let context = context.clone();
    spawn_local(async move {
        // Sessions that had to stay in an earlier hand-over are asked again.
        walk(&context, |session| {
            if context.departures.is_current(number) && !session.counters.is_parked() {
                context.departures.forget(session);
                context.departures.queue(session);
            }
            VISIT_COST
        })
        .await;
        run(&context, number, &to).await;
        if context.departures.is_current(number) {
            end_hand_over(&context);
        }
    });
}

/// Asks and sends until nothing is left, or the receiver has gone.
async fn run(context: &WorkerContext, number: u64, to: &mpsc::Sender<ParkedSession>) {
    let departures = &context.departures;
    // A receiver that is gone does not answer what it has received either.
    while departures.is_current(number) && !to.is_closed() {
        while let Some(parked) = departures.take_parked() {
            if to.send(parked).await.is_err() {
                return;
            }
        }
        context.reactor.turn.walks.turn().await;
        if ask_some(context) {
            continue;
        }
        let is_idle = departures.is_idle();
        if is_idle && context.unfinished() == context.sessions.len() {
            return;
        }
        // Otherwise a session parks or ends, or an answer comes; the end of a handshake is polled.
        let changed = pin!(departures.changed.notified());
        let until = context.reactor.now() + HANDSHAKE_POLL_INTERVAL;
        let _ = deadline(&context.reactor, until, changed).await;
    }
}

/// Asks the next sessions to park; false if there was none to ask now.
fn ask_some(context: &WorkerContext) -> bool {
    let mut is_any = false;
    for _ in 0..MAX_ASKED_PER_TURN {
        let Some(SessionKey { slot, session_id }) = context.departures.next() else { break };
        is_any = true;
        context.sessions.with(slot, session_id, |session| {
            if session.counters.departure.get() == Departure::NotAsked {
                context.departures.ask(session);
            }
        });
    }
    is_any
}

/// Acts on the answer of the other process.
pub(crate) fn answer_hand_over(context: &WorkerContext, session_id: u64, outcome: HandOverOutcome) {
    // Without one, the session has ended, or the hand-over has.
    let Some(slot) = context.departures.take_answered(session_id) else { return };
    context.sessions.with(slot, session_id, |session| match outcome {
        HandOverOutcome::Taken => {
            // At once, as the session may come back with its ID before its relay runs.
            release_client(context, session);
            session.counters.departure.set(Departure::Moved);
            session.client.wake();
        }
        HandOverOutcome::Refused(reason) => resume(context, session, reason),
    });
}

/// Ends the hand-over: the sessions without an answer go on in this process.
pub(crate) fn end_hand_over(context: &WorkerContext) {
    for SessionKey { slot, session_id } in context.departures.end() {
        context.sessions.with(slot, session_id, |session| {
            resume(context, session, StayReason::Interrupted);
        });
    }
}

/// Lets a session go on in this process. What has arrived while it was parked is known to the
/// reactor.
fn resume(context: &WorkerContext, session: &ActiveSession, reason: StayReason) {
    context.departures.set_stays(session, reason);
    session.client.resume();
    session.upstream.resume();
    session.client.wake();
}
