//! Which broker takes a CONNECT: one after the other is asked, never two at once, until one does.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Instant,
};

use super::{
    choose::{NoIdentity, choose},
    dialogue::Dialogue,
    end::End,
    handshake::Opening,
    record::{Answer, Way},
    reject::{Rejected, Reply},
    shard::Shard,
};
use crate::{
    config::RetryOn,
    mqtt::{Connack, Connect, Refuse, Version, reason},
    observe::{EndBy, EndCause, EndPhase, RouteKind, TryOutcome},
    transport::{Elapsed, Socket, deadline},
    upstream::{Broker, DialError, Lease, Pool, dial},
};

/// A broker that has sent its CONNACK, which the client has not been given yet.
pub(super) struct Answered {
    pub(super) upstream: Socket,
    pub(super) lease: Lease,
    pub(super) connack: Connack,
    /// The CONNACK, and what came behind it.
    pub(super) reply: Vec<u8>,
    /// Bytes of an authentication exchange, from the client and to it.
    pub(super) passed: (u64, u64),
}

/// What is known so far of the brokers that were asked.
#[derive(Default)]
struct Search {
    tried: Vec<Arc<Broker>>,
    /// Those that did not take this CONNECT, which may have been its own fault: they are blamed
    /// only if another broker takes it. Else any client could have a broker ejected.
    suspects: Vec<Arc<Broker>>,
    /// The broker that the last one referred the client to (5.0 §4.13).
    referred: Option<Arc<Broker>>,
    /// The last no, for the client if there is no better answer.
    refused: Option<Box<Refused>>,
    /// How the last try failed.
    failure: Option<End>,
}

/// A broker's no, kept while others are asked.
struct Refused {
    reply: Vec<u8>,
    way: Option<Way>,
    answer: Option<Answer>,
}

/// What asking one broker came to.
enum Asked {
    Answered(Answered),
    Failed { end: End, retry: bool },
}

impl Opening<'_> {
    /// Offers the CONNECT to brokers in order until one has an answer that is worth passing on.
    pub(super) async fn find_broker(&mut self, connect: &Connect) -> Result<Answered, Rejected> {
        let shard = self.shard;
        let pool = &shard.pools[self.record.origin.pool].pool;
        let mut tries_left = pool.config.tries.get();
        let mut search = Search::default();
        let mut next = self.choose(connect, &mut search)?;
        while let Some((broker, route)) = next.take() {
            if let Some(door) = &broker.admission
                && !door.try_enter(Instant::now())
            {
                // Boxed, as few handshakes need the room for it.
                Box::pin(self.wait_for_turn(&broker)).await?;
            }
            // Its last place may have gone between the choice and now, or it itself.
            let lease = match broker.lease() {
                Ok(lease) => lease,
                Err(broker) => {
                    search.tried.push(broker);
                    next = self.choose(connect, &mut search)?;
                    continue;
                }
            };
            tries_left -= 1;
            let retry = match self.ask(connect, lease, route).await? {
                Asked::Answered(answered) => {
                    let verdict = Verdict::of(connect.version, answered.connack.code);
                    // Once it has taken part in an authentication, a client can't be handed on.
                    let alone = answered.passed == (0, 0);
                    if !alone || !verdict.wants_another(pool.config.retry_on) {
                        self.judge(pool, &search, &answered, verdict);
                        return Ok(answered);
                    }
                    search.referred = referred(shard, self.record.origin.pool, &answered);
                    search.tried.push(answered.lease.broker().clone());
                    if tries_left > 0 {
                        next = self.choose(connect, &mut search)?;
                    }
                    self.judge(pool, &search, &answered, verdict);
                    if next.is_none() {
                        return Ok(answered);
                    }
                    if verdict != Verdict::Elsewhere {
                        search.suspects.extend(search.tried.last().cloned());
                    }
                    search.refused = Some(Box::new(Refused {
                        reply: answered.reply,
                        way: self.record.way.take(),
                        answer: self.record.answer.take(),
                    }));
                    false
                }
                Asked::Failed { end, retry } => {
                    search.tried.extend(self.record.way.as_ref().map(|way| way.broker.clone()));
                    if end.by == EndBy::Upstream {
                        search.suspects.extend(search.tried.last().cloned());
                    }
                    search.failure = Some(end);
                    retry
                }
            };
            if retry && tries_left > 0 {
                next = self.choose(connect, &mut search)?;
            }
        }
        Err(self.give_up(search))
    }

    /// The best broker not tried yet, and by which way it came to be that.
    fn choose(
        &self,
        connect: &Connect,
        search: &mut Search,
    ) -> Result<Option<(Arc<Broker>, RouteKind)>, Rejected> {
        if let Some(referred) = search.referred.take()
            && referred.load().is_some()
            && !search.tried.iter().any(|tried| Arc::ptr_eq(tried, &referred))
        {
            return Ok(Some((referred, RouteKind::Referred)));
        }
        let client = crate::route::Client {
            client_id: connect.client_id.of(&self.buffer),
            username: connect.username.map(|username| username.of(&self.buffer)),
            source_ip: self.record.peer.ip(),
        };
        let chosen = choose(self.shard, self.record.origin.pool, &client, &search.tried);
        chosen.map_err(|NoIdentity| {
            self.refuse(Refuse::IdentifierRejected, EndPhase::Connect, EndCause::Refused)
                .with("empty client ID, and empty_client_id is reject")
        })
    }

    /// Waits at the broker's door until it is this client's turn.
    async fn wait_for_turn(&mut self, broker: &Broker) -> Result<(), Rejected> {
        let Some(door) = &broker.admission else { return Ok(()) };
        let shard = self.shard;
        let began = shard.reactor.now();
        let turn = pin!(door.turn());
        let turn = pin!(while_unbroken(shard, &self.client, EndPhase::Dial, turn));
        let waited = deadline(&shard.reactor, began + door.max_wait, turn).await;
        self.record.queued.add(shard.reactor.now().duration_since(began));
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(end)) => Err(self.given_up(end)),
            Err(Elapsed) => Err(self
                .refuse(Refuse::ConnectionRateExceeded, EndPhase::Dial, EndCause::Limit)
                .with(format!("no turn at {} within admission.max_wait", broker.name))),
        }
    }

    /// Dials a broker and waits for its answer.
    async fn ask(
        &mut self,
        connect: &Connect,
        lease: Lease,
        route: RouteKind,
    ) -> Result<Asked, Rejected> {
        let shard = self.shard;
        let pool = &shard.pools[self.record.origin.pool].pool;
        self.record.tries = self.record.tries.saturating_add(1);
        let began = shard.reactor.now();
        let dialled = {
            let broker = lease.broker();
            let dialling =
                pin!(dial(&shard.reactor, broker, pool.config.connect_timeout, &self.buffer));
            while_unbroken(shard, &self.client, EndPhase::Dial, dialling).await
        };
        let dialled = dialled.map_err(|end| {
            lease.broker().metrics.count_try(TryOutcome::Abandoned);
            self.given_up(end)
        })?;
        let took = shard.reactor.now().duration_since(began);
        self.record.way = Some(Way { route, broker: lease.broker().clone(), dial: took.into() });
        match dialled {
            Ok(upstream) => {
                lease.broker().metrics.connect_seconds.observe(took.as_secs_f64());
                pool.metrics.count_route(route);
                self.await_connack(connect, upstream, lease).await
            }
            Err(error) => Ok(self.not_dialled(pool, &lease, &error)),
        }
    }

    fn not_dialled(&self, pool: &Pool, lease: &Lease, error: &DialError) -> Asked {
        let broker = lease.broker();
        tracing::debug!(pool = %pool.config.name, upstream = %broker.name, %error, "dial failed");
        if error.is_the_brokers() {
            lease.settle();
            pool.blame(broker, self.shard.reactor.now());
        }
        let on = pool.config.retry_on;
        let (outcome, cause, retry) = match error {
            DialError::TimedOut(_) => {
                (TryOutcome::ConnectTimeout, EndCause::Timeout, on.connect_timeout)
            }
            DialError::Failed(_) | DialError::Unresolved => {
                (TryOutcome::ConnectFailure, EndCause::NoUpstream, on.connect_failure)
            }
        };
        broker.metrics.count_try(outcome);
        let end = End::new(EndBy::Proxy, EndPhase::Dial, cause).with(error.to_string());
        Asked::Failed { end, retry }
    }

    async fn await_connack(
        &mut self,
        connect: &Connect,
        upstream: Socket,
        lease: Lease,
    ) -> Result<Asked, Rejected> {
        let shard = self.shard;
        let pool = &shard.pools[self.record.origin.pool].pool;
        let began = shard.reactor.now();
        let at = began + pool.config.connack_timeout;
        let metrics = &lease.broker().metrics;
        let mut dialogue = Dialogue::new(shard, &self.client, &upstream, connect.version);
        let answered = {
            let answering = pin!(dialogue.connack());
            let answering = while_unbroken(shard, &self.client, EndPhase::Connack, answering);
            deadline(&shard.reactor, at, pin!(answering)).await
        };
        let waited = shard.reactor.now().duration_since(began);
        let passed = (dialogue.passed_in, dialogue.passed_out);
        let reply = dialogue.reply;
        let alone = passed == (0, 0);
        match answered {
            Ok(Ok(Ok(connack))) => {
                metrics.count_connack(reason::name(connect.version, connack.code), waited);
                metrics.count_try(match connack.code {
                    0 => TryOutcome::Accepted,
                    _ => TryOutcome::Refused,
                });
                let answer = Answer::of_broker(connect.version, &connack, &reply, waited);
                self.record.answer = Some(answer);
                Ok(Asked::Answered(Answered { upstream, lease, connack, reply, passed }))
            }
            Ok(Ok(Err(end)) | Err(end)) => {
                shard.give_back_buffer(reply);
                if end.by == EndBy::Upstream {
                    metrics.count_try(TryOutcome::NoConnack);
                    let retry = alone && pool.config.retry_on.no_connack;
                    return Ok(Asked::Failed { end, retry });
                }
                metrics.count_try(TryOutcome::Abandoned);
                if alone && end.by == EndBy::Client && waited >= pool.config.connack_timeout / 2 {
                    // It had waited long enough for anyone to lose patience.
                    pool.blame(lease.broker(), shard.reactor.now());
                }
                Err(self.given_up(end))
            }
            Err(Elapsed) => {
                shard.give_back_buffer(reply);
                metrics.count_try(TryOutcome::NoConnack);
                if alone {
                    lease.settle();
                    pool.blame(lease.broker(), shard.reactor.now());
                }
                // Should it wake up, it is to learn at once that nobody is there any more.
                upstream.reset_on_close();
                let end = End::new(EndBy::Proxy, EndPhase::Connack, EndCause::Timeout)
                    .with("no CONNACK within connack_timeout");
                Ok(Asked::Failed { end, retry: alone && pool.config.retry_on.no_connack })
            }
        }
    }

    /// What an answer says of the broker that gave it, and of those that had none.
    fn judge(&self, pool: &Pool, search: &Search, answered: &Answered, verdict: Verdict) {
        let now = self.shard.reactor.now();
        if matches!(verdict, Verdict::Final | Verdict::Elsewhere) {
            answered.lease.settle();
            pool.praise(answered.lease.broker(), now);
        }
        if answered.connack.code == 0 {
            search.suspects.iter().for_each(|suspect| pool.blame(suspect, now));
        }
    }

    /// Nobody took it: the client gets the last answer there was, or one of the proxy's own.
    fn give_up(&mut self, search: Search) -> Rejected {
        if let Some(refused) = search.refused {
            let Refused { reply, way, answer } = *refused;
            (self.record.way, self.record.answer) = (way, answer);
            let end = End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Refused);
            let end = match search.failure {
                Some(failure) => end.with(failure.detail.unwrap_or(Cow::Borrowed("others failed"))),
                None => end,
            };
            return Rejected { end, answer: Some(Reply::OfBroker(reply)) };
        }
        if let Some(failure) = search.failure {
            return self.answer(Refuse::ServerUnavailable, failure);
        }
        let view = &self.shard.pools[self.record.origin.pool];
        let members = view.members();
        if members.list.iter().any(|member| member.broker.is_full()) {
            return self
                .refuse(Refuse::ServerBusy, EndPhase::Dial, EndCause::Limit)
                .with("every broker that could serve has its max_connections");
        }
        let why = if members.list.is_empty() {
            "no broker has been discovered yet"
        } else {
            "every broker is down, ejected or draining"
        };
        self.refuse(Refuse::ServerUnavailable, EndPhase::Dial, EndCause::NoUpstream).with(why)
    }

    /// Tells a client that is still there that it has no broker.
    fn given_up(&self, end: End) -> Rejected {
        match end.by {
            EndBy::Client => end.into(),
            EndBy::Upstream | EndBy::Proxy => self.answer(Refuse::ServerUnavailable, end),
        }
    }

    pub(super) fn refuse(&self, refuse: Refuse, phase: EndPhase, cause: EndCause) -> Rejected {
        self.answer(refuse, End::new(EndBy::Proxy, phase, cause))
    }

    fn answer(&self, refuse: Refuse, end: End) -> Rejected {
        let version = self.record.client.as_ref().map(|client| client.version);
        let answer = version.map(|version| Reply::OfProxy(refuse.connack(version)));
        Rejected { end, answer }
    }
}

/// What a CONNACK's code says of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The broker has decided on this client, whichever way.
    Final,
    Unavailable,
    Busy,
    /// The client is to ask another one.
    Elsewhere,
}

impl Verdict {
    /// By 3.1.1 table 3.1 and 5.0 table 3-1.
    fn of(version: Version, code: u8) -> Self {
        match (version, code) {
            (_, 0x03) | (Version::V5, 0x88) => Self::Unavailable,
            (Version::V5, 0x89 | 0x97 | 0x9F) => Self::Busy,
            (Version::V5, 0x9C | 0x9D) => Self::Elsewhere,
            _ => Self::Final,
        }
    }

    fn wants_another(self, on: RetryOn) -> bool {
        match self {
            Self::Final => false,
            Self::Unavailable => on.server_unavailable,
            Self::Busy => on.server_busy,
            Self::Elsewhere => on.use_another_server,
        }
    }
}

/// The broker of the pool that a Server Reference names, by its name or its address. It is a list
/// with spaces in between (5.0 §4.13).
fn referred(shard: &Shard, pool: usize, answered: &Answered) -> Option<Arc<Broker>> {
    let references = answered.connack.server_reference?.of(&answered.reply);
    let members = shard.pools[pool].members();
    references.split_ascii_whitespace().find_map(|reference| {
        let named = members.list.iter().find(|member| member.broker.is_called(reference))?;
        Some(named.broker.clone())
    })
}

/// Runs `work` unless the client's connection breaks meanwhile, or the proxy ends.
async fn while_unbroken<T>(
    shard: &Shard,
    client: &Socket,
    phase: EndPhase,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    poll_fn(|cx| {
        client.watch(cx);
        if let Some(cause) = shard.ending.get() {
            return Poll::Ready(Err(End::new(EndBy::Proxy, phase, cause)));
        }
        if client.is_broken() {
            return Poll::Ready(Err(End::new(EndBy::Client, phase, EndCause::Reset)));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}
