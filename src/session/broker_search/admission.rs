//! A client in a broker's queue for admission.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Instant,
};

use crate::{
    labels::{EndBy, EndCause, EndPhase},
    limits::Admission,
    proto::mqtt::{Connect, RejectReason},
    session::{
        context::READ_BYTES,
        end::End,
        handshake::{Handshake, Rejected},
    },
    upstream::Broker,
};

impl Handshake<'_> {
    /// Waits in the broker's queue until it is this client's turn.
    pub(in crate::session) async fn wait_for_turn(
        &mut self,
        connect: &Connect,
        broker: &Broker,
    ) -> Result<(), Rejected> {
        let began = Instant::now();
        let turn = pin!(broker.admission.turn(began));
        let waited = self.while_present(connect, turn).await;
        self.record.add_wait(began.elapsed());
        match waited {
            Ok(Admission::Admitted) => Ok(()),
            Err(end) if end.cause == EndCause::Malformed => Err(Rejected::told(end)),
            Err(end) => Err(self.given_up(end)),
            Ok(Admission::TooLong) => Err(self
                .refuse(RejectReason::ConnectionRateExceeded, EndPhase::Dial, EndCause::Limit)
                .with(format!("no turn at {} within admission.max_wait", broker.name))),
        }
    }

    /// Runs `work`, which costs a broker something, unless the client leaves meanwhile or the proxy
    /// ends.
    ///
    /// A client that ends its side with nothing behind its CONNECT has left: that is how libraries
    /// give up. One that has sent more may have had no more to say and still be owed its delivery.
    /// So what comes is read until it shows which of the two this is, and no further; it goes to the
    /// broker with the CONNECT.
    async fn while_present<T>(
        &mut self,
        connect: &Connect,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, End> {
        const PHASE: EndPhase = EndPhase::Dial;
        let context = self.context;
        let limit = context.limits.get().connect_packet;
        let (client, buffer) = (&self.client, &mut self.buffer);
        poll_fn(|cx| {
            if let Some(cause) = context.ending.get() {
                return Poll::Ready(Err(End::new(EndBy::Proxy, PHASE, cause)));
            }
            client.watch(cx);
            // Before the look at what has broken: on a unix socket every close breaks the connection.
            if buffer.len() == connect.len {
                // Behind a CONNECT as long as it may be, one byte is enough to know.
                let room = limit.saturating_sub(buffer.len()).clamp(1, READ_BYTES);
                let scratch = &mut *context.scratch.lend();
                match scratch.receive(room, |room| client.try_recv(room)) {
                    Poll::Ready(Ok(0)) => {
                        let end = End::new(EndBy::Client, PHASE, EndCause::Closed);
                        return Poll::Ready(Err(end));
                    }
                    Poll::Ready(Ok(_)) => buffer.extend_from_slice(scratch.bytes()),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(End::failed(EndBy::Client, PHASE, &error)));
                    }
                    Poll::Pending => {}
                }
            }
            if client.is_broken() {
                return Poll::Ready(Err(End::new(EndBy::Client, PHASE, EndCause::Reset)));
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}
