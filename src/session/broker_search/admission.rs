//! A client in a broker's admission queue.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Instant,
};

use tokio::sync::futures::Notified;

use super::opening::Opening;
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    limits::AdmissionOutcome,
    proto::mqtt::RejectReason,
    session::{
        context::READ_BYTES, destination::follow_rules, end::End, pending::PendingClient,
        reject::Rejection,
    },
    upstream::Broker,
};

/// The end of a client's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Admitted,
    /// The rules have sent the client to another pool in the meantime.
    InOtherPool,
}

/// Waits in the broker's queue until the client is admitted. A client that is banned leaves the
/// queue. The rules may have changed meanwhile, so they are applied again.
pub(super) async fn wait_for_admission(
    client: &mut PendingClient<'_>,
    opening: Opening<'_>,
    broker: &Broker,
) -> Result<Turn, Rejection> {
    let began = Instant::now();
    let mut turn = pin!(broker.admission.wait(began));
    let waited = loop {
        // Before the check, so that no ban is missed.
        let mut new_bans = pin!(client.context.new_bans.notified());
        if let Err(banned) = client.check_bans() {
            break Err(banned);
        }
        let event = pin!(turn_or_new_bans(turn.as_mut(), new_bans.as_mut()));
        match while_present(client, opening, event).await {
            Ok(None) => {}
            Ok(Some(AdmissionOutcome::Admitted)) => {
                let to_other_pool =
                    client.check_bans().and_then(|()| follow_rules(client, opening.connect()));
                break to_other_pool.map(|is| if is { Turn::InOtherPool } else { Turn::Admitted });
            }
            Ok(Some(AdmissionOutcome::TimedOut)) => {
                break Err(client
                    .refuse(RejectReason::ConnectionRateExceeded, EndPhase::Dial, EndCause::Limit)
                    .with(format!("not admitted to {} within admission.max_wait", broker.name)));
            }
            Err(end) if end.cause == EndCause::Malformed => break Err(Rejection::after_read(end)),
            Err(end) => break Err(client.search_ended(end)),
        }
    };
    client.record.add_wait(began.elapsed());
    waited
}

/// The outcome of the client's turn; `None` if bans have been added before.
async fn turn_or_new_bans(
    mut turn: Pin<&mut impl Future<Output = AdmissionOutcome>>,
    mut new_bans: Pin<&mut Notified<'_>>,
) -> Option<AdmissionOutcome> {
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = turn.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        new_bans.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Runs `work`, which costs a broker something, until the client leaves or the worker ends its
/// handshakes.
///
/// A client that closes its side without having sent anything after its CONNECT has left: client
/// libraries give up that way. A client that has sent more may be done sending and still wait for
/// delivery. So data from the client is read only until it shows which case applies; it is sent to
/// the broker with the CONNECT. A TLS client that closes its side has left, whatever it has sent: it
/// has to answer its server (RFC 8446, section 2).
async fn while_present<T>(
    client: &mut PendingClient<'_>,
    opening: Opening<'_>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    const PHASE: EndPhase = EndPhase::Dial;
    let context = client.context;
    let limit = context.limits.get().connect_packet;
    let (stream, buffer) = (&client.stream, &mut client.buffer);
    let may_have_left = |read: usize| match opening {
        Opening::Connect(connect) => read == connect.len,
        Opening::ClientHello => read < limit,
    };
    poll_fn(|cx| {
        if let Some(cause) = context.ending.get() {
            return Poll::Ready(Err(End::new(EndBy::Proxy, PHASE, cause)));
        }
        stream.watch(cx);
        // Before the check for a broken connection: on a unix socket every close breaks it.
        while may_have_left(buffer.len()) {
            // After a CONNECT of the maximum size, one byte is enough to know.
            let room = limit.saturating_sub(buffer.len()).clamp(1, READ_BYTES);
            let scratch = &mut *context.scratch.lend();
            match scratch.receive(room, |room| stream.try_recv(room)) {
                Poll::Ready(Ok(0)) => {
                    let end = End::new(EndBy::Client, PHASE, EndCause::Closed);
                    return Poll::Ready(Err(end));
                }
                Poll::Ready(Ok(_)) => buffer.extend_from_slice(scratch.bytes()),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(End::failed(EndBy::Client, PHASE, &error)));
                }
                Poll::Pending => break,
            }
        }
        if stream.is_broken() {
            return Poll::Ready(Err(End::new(EndBy::Client, PHASE, EndCause::Reset)));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}
