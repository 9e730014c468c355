//! One broker asked: the dial, the CONNECT, and its answer or the lack of one.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Instant,
};

use super::auth_exchange::Dialogue;
use crate::{
    config::RetryOn,
    labels::{EndBy, EndCause, EndPhase, RouteKind},
    metrics::TryOutcome,
    net::{Elapsed, Stream, deadline},
    proto::mqtt::{Connack, Connect, Version, reason},
    session::{
        context::WorkerContext,
        end::End,
        handshake::{Handshake, Rejected},
        pool_view::PoolView,
        record::{ConnackSent, RouteTaken},
    },
    upstream::{self, Broker, DialError, Lease, Reached, Refused, Trial, dial},
};

/// What asking one broker came to.
pub(in crate::session) enum Asked {
    Answered(Answered),
    Failed { broker: Arc<Broker>, fault: Option<Fault>, end: End, retry: bool },
}

/// How a broker failed a client, where that is not this host's doing.
pub(in crate::session) struct Fault {
    pub(in crate::session) began: Instant,
    pub(in crate::session) kind: FaultKind,
    /// Held until it is known whether another broker takes the client.
    pub(in crate::session) trial: Option<Trial>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum FaultKind {
    /// It could not be reached, which no client can bring about.
    Unreachable,
    /// It had the CONNECT, and was silent for `connack_timeout`.
    Silent,
    /// It had the CONNECT, and ended the connection or answered nonsense.
    Unanswered,
}

/// A broker that has sent its CONNACK, which the client has not been given yet.
pub(in crate::session) struct Answered {
    pub(in crate::session) upstream: Stream,
    pub(in crate::session) lease: Lease,
    pub(in crate::session) connack: Connack,
    /// The CONNACK, and what came behind it.
    pub(in crate::session) reply: Vec<u8>,
}

/// What a CONNACK's code says of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Verdict {
    /// The broker has decided on this client, whichever way.
    Final,
    Unavailable,
    Busy,
    /// The client is to ask another one.
    Elsewhere,
}

impl Verdict {
    /// By 3.1.1 table 3.1 and 5.0 table 3-1.
    pub(in crate::session) fn of(version: Version, code: u8) -> Self {
        match (version, code) {
            (_, 0x03) | (Version::V5, 0x88) => Self::Unavailable,
            (Version::V5, 0x89 | 0x97 | 0x9F) => Self::Busy,
            (Version::V5, 0x9C | 0x9D) => Self::Elsewhere,
            _ => Self::Final,
        }
    }

    pub(in crate::session) fn wants_another(self, on: RetryOn) -> bool {
        match self {
            Self::Final => false,
            Self::Unavailable => on.server_unavailable,
            Self::Busy => on.server_busy,
            Self::Elsewhere => on.use_another_server,
        }
    }
}

impl Handshake<'_> {
    /// Dials a broker and waits for its answer.
    pub(in crate::session) async fn ask(
        &mut self,
        connect: &Connect,
        mut lease: Lease,
        route: RouteKind,
    ) -> Result<Asked, Rejected> {
        let context = self.context;
        let view = self.record.origin.pool.clone();
        let (pool, config) = (&view.pool, view.config());
        self.record.tries = self.record.tries.saturating_add(1);
        let began = Instant::now();
        let endpoint = lease.broker().endpoint();
        let dialled = {
            let header = self.proxy_header(config.send_proxy_protocol);
            let opening = upstream::FirstBytes { header: &header, connect: &self.buffer };
            let dialling = pin!(dial(&context.reactor, &config, &mut lease, &endpoint, opening));
            while_unbroken(context, &self.client, EndPhase::Dial, dialling).await
        };
        let dialled = dialled.map_err(|end| {
            lease.broker().metrics.count_try(TryOutcome::Abandoned);
            self.given_up(end)
        })?;
        let took = began.elapsed();
        let (dialled, place) = match dialled {
            Ok(Reached { stream, place }) => (Ok(stream), place),
            Err(error) => (Err(error), None),
        };
        self.record.way = Some(RouteTaken { route, endpoint, place, dial: took.into() });
        match dialled {
            Ok(upstream) => {
                lease.broker().metrics.connect_seconds.observe(took.as_secs_f64());
                pool.metrics.count_route(route);
                self.await_connack(connect, upstream, lease).await
            }
            Err(error) => Ok(Self::not_dialled(&view, &lease, began, &error)),
        }
    }

    fn not_dialled(view: &PoolView, lease: &Lease, began: Instant, error: &DialError) -> Asked {
        let (pool, broker) = (&view.pool, lease.broker());
        tracing::debug!(pool = %pool.name, upstream = %broker.name, %error, "dial failed");
        let fault = error.is_the_brokers().then(|| Fault {
            began,
            kind: FaultKind::Unreachable,
            trial: lease.take_trial(),
        });
        let on = view.config().retry_on;
        let (outcome, cause, retry) = if let Some(shortage) = error.shortage() {
            broker.endpoint().warn_of(shortage, Instant::now());
            (TryOutcome::NoPort, EndCause::NoUpstream, on.connect_failure)
        } else if error.is_a_timeout() {
            (TryOutcome::ConnectTimeout, EndCause::Timeout, on.connect_timeout)
        } else {
            (TryOutcome::ConnectFailure, EndCause::NoUpstream, on.connect_failure)
        };
        broker.metrics.count_try(outcome);
        let end = End::new(EndBy::Proxy, EndPhase::Dial, cause).with(error.to_string());
        Asked::Failed { broker: broker.clone(), fault, end, retry }
    }

    async fn await_connack(
        &mut self,
        connect: &Connect,
        upstream: Stream,
        lease: Lease,
    ) -> Result<Asked, Rejected> {
        let context = self.context;
        let view = self.record.origin.pool.clone();
        let (pool, config) = (&view.pool, view.config());
        let began = Instant::now();
        let at = began + config.connack_timeout;
        let metrics = &lease.broker().metrics;
        let mut dialogue = Dialogue::new(context, &self.client, &upstream, connect.version);
        let answered = {
            let answering = pin!(dialogue.connack());
            let answering = while_unbroken(context, &self.client, EndPhase::Connack, answering);
            deadline(&context.reactor, at, pin!(answering)).await
        };
        let waited = began.elapsed();
        let Dialogue { reply, exchanged, .. } = dialogue;
        (self.record.read, self.record.sent) = exchanged;
        let alone = exchanged == (0, 0);
        match answered {
            Ok(Ok(Ok(connack))) => {
                metrics.count_connack(reason::name(connect.version, connack.code), waited);
                metrics.count_try(match connack.code {
                    0 => TryOutcome::Accepted,
                    _ => TryOutcome::Refused,
                });
                let answer = ConnackSent::of_broker(connect.version, &connack, &reply, waited);
                self.record.answer = Some(answer);
                Ok(Asked::Answered(Answered { upstream, lease, connack, reply }))
            }
            Ok(Ok(Err(end)) | Err(end)) => {
                context.give_back_buffer(reply);
                if end.by == EndBy::Upstream {
                    metrics.count_try(TryOutcome::NoConnack);
                    let retry = alone && config.retry_on.no_connack;
                    let trial = lease.take_trial();
                    let fault = Some(Fault { began, kind: FaultKind::Unanswered, trial });
                    return Ok(Asked::Failed { broker: lease.broker().clone(), fault, end, retry });
                }
                metrics.count_try(TryOutcome::Abandoned);
                if alone && end.by == EndBy::Client && waited >= config.connack_timeout / 2 {
                    // It had waited long enough for anyone to lose patience.
                    lease.settle();
                    let now = Instant::now();
                    pool.record_lone_failure(lease.broker(), began, now);
                    pool.record_refused(Refused::Unanswered(self.client_hash(connect)), now);
                }
                Err(self.given_up(end))
            }
            Err(Elapsed) => {
                context.give_back_buffer(reply);
                metrics.count_try(TryOutcome::NoConnack);
                let trial = lease.take_trial();
                let fault = alone.then_some(Fault { began, kind: FaultKind::Silent, trial });
                // Should it wake up, it is to learn at once that nobody is there any more.
                upstream.reset_on_close();
                let end = End::new(EndBy::Proxy, EndPhase::Connack, EndCause::Timeout)
                    .with("no CONNACK within connack_timeout");
                let retry = alone && config.retry_on.no_connack;
                Ok(Asked::Failed { broker: lease.broker().clone(), fault, end, retry })
            }
        }
    }
}

/// Runs `work` unless the client's connection breaks meanwhile, or the proxy ends. A client that has
/// only ended its side may still want its answer.
pub(in crate::session) async fn while_unbroken<T>(
    context: &WorkerContext,
    client: &Stream,
    phase: EndPhase,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    poll_fn(|cx| {
        client.watch(cx);
        if let Some(cause) = context.ending.get() {
            return Poll::Ready(Err(End::new(EndBy::Proxy, phase, cause)));
        }
        if client.is_broken() {
            return Poll::Ready(Err(End::new(EndBy::Client, phase, EndCause::Reset)));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}
