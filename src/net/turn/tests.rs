//! The tasks that a turn admits, and their order.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
    thread::sleep,
};

use super::*;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn waker() -> (Arc<Woken>, Waker) {
    let woken = Arc::<Woken>::default();
    (woken.clone(), Waker::from(woken))
}

/// Streams are admitted in the order in which they came, one share of bytes per turn.
#[test]
fn bulk_streams_take_turns() {
    let turn = TurnBudget::default();
    let (woken, waker) = waker();
    let cx = Context::from_waker(&waker);
    let mut tickets = [TurnTicket::default(); 3];
    for ticket in &mut tickets {
        assert!(!turn.bulk.take_turn(ticket));
        turn.bulk.join(ticket, &cx);
        turn.bulk.join(ticket, &cx);
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        turn.begin();
        while turn.admit() {
            for (at, ticket) in tickets.iter_mut().enumerate() {
                if turn.bulk.take_turn(ticket) {
                    served.push(at);
                    turn.spend(FLOW_BYTES);
                    turn.bulk.join(ticket, &cx);
                }
            }
        }
    }
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
    assert_eq!(woken.count(), 6);
}

/// Streams that move little share a turn, up to a limit on their number.
#[test]
fn light_streams_share_a_turn() {
    let turn = TurnBudget::default();
    let (woken, waker) = waker();
    let cx = Context::from_waker(&waker);
    for _ in 0..40 {
        turn.bulk.join(&mut TurnTicket::default(), &cx);
    }
    for served in [16, 32, 40, 40] {
        turn.begin();
        while turn.admit() {}
        assert_eq!(woken.count(), served);
    }
    assert!(!turn.has_waiting());
}

/// A turn admits one heavy step of a handshake and one chunk of a walk, however many wait.
#[test]
fn heavy_tasks_have_a_turn_each() {
    let turn = TurnBudget::default();
    let (_, waker) = waker();
    let mut cx = Context::from_waker(&waker);
    let mut done = 0;
    let mut handshakes: Vec<_> = (0..3)
        .map(|_| {
            Box::pin(async {
                let signature = pin!(async { sleep(HEAVY_STEP_TIME) });
                turn.pace(signature).await;
            })
        })
        .collect();
    let mut walks: Vec<_> = (0..3).map(|_| Box::pin(turn.walks.turn())).collect();
    // The first one did not have to wait.
    for left in [(2, 3), (1, 2), (0, 1), (0, 0)] {
        handshakes.retain_mut(|handshake| handshake.as_mut().poll(&mut cx).is_pending());
        walks.retain_mut(|walk| walk.as_mut().poll(&mut cx).is_pending());
        assert_eq!((handshakes.len(), walks.len()), left);
        assert_eq!(turn.has_waiting(), left != (0, 0));
        turn.begin();
        while turn.admit() {
            // As the worker does before it admits the next task.
            handshakes.retain_mut(|handshake| handshake.as_mut().poll(&mut cx).is_pending());
            done += 1;
        }
    }
    assert_eq!(done, 5);
}

/// Ticket numbers wrap around.
#[test]
fn tickets_past_the_largest_number() {
    let queue = TurnQueue::default();
    queue.admitted.set(u32::MAX - 2);
    let (_, waker) = waker();
    let cx = Context::from_waker(&waker);
    let mut tickets = [TurnTicket::default(); 5];
    for ticket in &mut tickets {
        queue.join(ticket, &cx);
    }
    for at in 0..5 {
        assert!(queue.admit());
        let admitted = tickets.each_ref().map(|ticket| {
            let mut ticket = *ticket;
            queue.take_turn(&mut ticket)
        });
        // Ticket 0 counts as not waiting.
        let expected = std::array::from_fn(|of| of <= at && of != 2);
        assert_eq!(admitted, expected);
    }
}
