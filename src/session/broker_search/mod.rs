//! Which broker takes a CONNECT: one after the other is asked, never two at once, until one does.

mod admission;
mod attempt;
mod auth_exchange;
mod choose;
pub(in crate::session) mod stand_in;

pub(in crate::session) use attempt::Answered;
pub(in crate::session) use choose::preferred_broker;

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Instant,
};

use self::{
    attempt::{Asked, Fault, FaultKind, Verdict},
    choose::{NoIdentity, choose},
};
use super::{
    clients::Place,
    handshake::{Rejected, Reply},
    pool_view::PoolView,
    record::{ConnackSent, RouteTaken},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, RouteKind},
    proto::mqtt::{Connect, RejectReason},
    session::{end::End, handshake::Handshake},
    upstream::{Broker, Lease, Pool, Refused},
};

/// What is known so far of the brokers that were asked.
#[derive(Default)]
struct Search {
    tried: Vec<Arc<Broker>>,
    /// Those that did not take this client, which may be its own fault, or one that all brokers
    /// share: they are blamed only if another broker takes it.
    suspects: Vec<Suspect>,
    /// The broker that the last one referred the client to (5.0 §4.13).
    referred: Option<Arc<Broker>>,
    /// The last no, for the client if there is no better answer.
    refused: Option<Box<Refusal>>,
    /// Whether the last place of a broker was gone before this client had it.
    missed: bool,
    /// How the last try failed.
    failure: Option<End>,
}

/// A broker that did not take the client.
struct Suspect {
    broker: Arc<Broker>,
    fault: Fault,
}

/// A broker's no, kept while others are asked.
struct Refusal {
    reply: Vec<u8>,
    way: Option<RouteTaken>,
    answer: Option<ConnackSent>,
}

impl Search {
    /// What an answer says of the broker that gave it, and of those that had none.
    fn judge(&mut self, pool: &Pool, answered: &Answered, verdict: Verdict) {
        let now = Instant::now();
        let is_decided = matches!(verdict, Verdict::Final | Verdict::Elsewhere);
        if is_decided {
            answered.lease.settle();
            pool.record_success(answered.lease.broker(), now);
        }
        let is_accepted = answered.connack.code == 0;
        // That a broker cannot be reached is not due to the client, whatever another one tells it.
        let shown = |suspect: &mut Suspect| {
            is_accepted || is_decided && suspect.fault.kind == FaultKind::Unreachable
        };
        for Suspect { broker, fault } in self.suspects.extract_if(.., shown) {
            drop(fault.trial);
            pool.record_failure(&broker, fault.began, now);
        }
    }

    /// No broker took the client. Says how they failed it, if each that was asked did.
    fn judge_alone(&mut self, pool: &Pool) -> Option<FaultKind> {
        let now = Instant::now();
        let every_one = self.suspects.len() == self.tried.len();
        let mut worst = None;
        for Suspect { broker, fault } in self.suspects.drain(..) {
            drop(fault.trial);
            if fault.kind != FaultKind::Unanswered {
                pool.record_lone_failure(&broker, fault.began, now);
            }
            if worst.is_none_or(|kind| kind == FaultKind::Unreachable) {
                worst = Some(fault.kind);
            }
        }
        worst.filter(|_| every_one)
    }
}

impl Handshake<'_> {
    /// Offers the CONNECT to brokers in order until one has an answer that is worth passing on.
    pub(in crate::session) async fn find_broker(
        &mut self,
        connect: &Connect,
    ) -> Result<Answered, Rejected> {
        let view = self.record.origin.pool.clone();
        let (pool, config) = (&view.pool, view.config());
        let mut tries_left = config.tries.get();
        let mut search = Search::default();
        let mut next = self.choose(connect, &mut search)?;
        while let Some((broker, route)) = next.take() {
            if broker.is_full() && !self.has_place_on(&broker) {
                // Boxed, as few handshakes need the room for it.
                let place = Place::Broker(broker.id());
                if !Box::pin(self.take_place(place)).await? {
                    search.tried.push(broker);
                    next = self.choose(connect, &mut search)?;
                    continue;
                }
            }
            if !broker.admission.try_enter(self.context.reactor.now()) {
                Box::pin(self.wait_for_turn(connect, &broker)).await?;
            }
            // Its last place may have gone between the choice and now, or it itself.
            let lease = match self.lease(broker) {
                Ok(lease) => lease,
                Err(broker) => {
                    // A client may have a place of its own on one that has just become full.
                    if search.missed || !broker.is_full() {
                        search.tried.push(broker);
                    }
                    search.missed = true;
                    next = self.choose(connect, &mut search)?;
                    continue;
                }
            };
            tries_left -= 1;
            let began = Instant::now();
            let asked = self.ask(connect, lease, route).await;
            let asked = asked.inspect_err(|_| {
                search.judge_alone(pool);
            });
            let retry = match asked? {
                Asked::Answered(answered) => {
                    let verdict = Verdict::of(connect.version, answered.connack.code);
                    // Once it has taken part in an authentication, a client can't be handed on.
                    let alone = (self.record.read, self.record.sent) == (0, 0);
                    if !alone || !verdict.wants_another(config.retry_on) {
                        search.judge(pool, &answered, verdict);
                        return Ok(answered);
                    }
                    search.referred = referred(&view, &answered);
                    search.tried.push(answered.lease.broker().clone());
                    if tries_left > 0 {
                        next = self.choose(connect, &mut search)?;
                    }
                    search.judge(pool, &answered, verdict);
                    if next.is_none() {
                        return Ok(answered);
                    }
                    if verdict != Verdict::Elsewhere {
                        let (broker, trial) =
                            (answered.lease.broker().clone(), answered.lease.take_trial());
                        let fault = Fault { began, kind: FaultKind::Unanswered, trial };
                        search.suspects.push(Suspect { broker, fault });
                    }
                    search.refused = Some(Box::new(Refusal {
                        reply: answered.reply,
                        way: self.record.way.take(),
                        answer: self.record.answer.take(),
                    }));
                    false
                }
                Asked::Failed { broker, fault, end, retry } => {
                    search.tried.push(broker.clone());
                    search.suspects.extend(fault.map(|fault| Suspect { broker, fault }));
                    search.failure = Some(end);
                    retry
                }
            };
            if retry && tries_left > 0 {
                next = self.choose(connect, &mut search)?;
            }
        }
        Err(self.give_up(connect, search))
    }

    /// A place on a broker, be it that of an older session of this client.
    fn lease(&self, broker: Arc<Broker>) -> Result<Lease, Arc<Broker>> {
        if self.has_place_on(&broker) { broker.lease_beyond_limit() } else { broker.lease() }
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
        let client = self.record.for_route(
            connect.client_id.of(&self.buffer),
            connect.username.map(|username| username.of(&self.buffer)),
        );
        let chosen = choose(self.context, &self.record.origin.pool, &client, &search.tried);
        chosen.map_err(|NoIdentity| {
            self.refuse(RejectReason::IdentifierRejected, EndPhase::Connect, EndCause::Refused)
                .with("empty client ID, and empty_client_id is reject")
        })
    }

    /// Nobody took it: the client gets the last answer there was, or one of the proxy's own.
    fn give_up(&mut self, connect: &Connect, mut search: Search) -> Rejected {
        let pool = self.record.origin.pool.pool.clone();
        let failed = search.judge_alone(&pool);
        if let Some(refused) = search.refused {
            let Refusal { reply, way, answer } = *refused;
            (self.record.way, self.record.answer) = (way, answer);
            let end = End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Refused);
            let end = match search.failure {
                Some(failure) => end.with(failure.detail.unwrap_or(Cow::Borrowed("others failed"))),
                None => end,
            };
            return Rejected { answer: Some(Reply::Brokers(reply)), ..end.into() };
        }
        let now = Instant::now();
        if let Some(failure) = search.failure {
            match failed {
                Some(FaultKind::Unreachable) => pool.record_refused(Refused::Unreachable, now),
                Some(FaultKind::Silent | FaultKind::Unanswered) => {
                    pool.record_refused(Refused::Unanswered(self.client_hash(connect)), now);
                }
                None => {}
            }
            return self.answer(RejectReason::ServerUnavailable, failure);
        }
        let view = &self.record.origin.pool;
        let members = view.members();
        if members.list.iter().any(|member| member.broker.is_full()) {
            return self
                .refuse(RejectReason::ServerBusy, EndPhase::Dial, EndCause::Limit)
                .with("every broker that could serve has its max_connections");
        }
        if search.tried.is_empty() {
            pool.record_refused(Refused::Unreachable, now);
        }
        let why = if members.list.is_empty() {
            "no broker has been discovered yet"
        } else {
            "every broker is down, ejected, draining or not resolved yet"
        };
        self.refuse(RejectReason::ServerUnavailable, EndPhase::Dial, EndCause::NoUpstream).with(why)
    }

    /// Tells one client from others.
    pub(in crate::session) fn client_hash(&self, connect: &Connect) -> u64 {
        let id = connect.client_id.of(&self.buffer);
        let mut hasher = DefaultHasher::new();
        (self.record.client_ip(), id).hash(&mut hasher);
        hasher.finish()
    }

    /// Tells a client that is still there that it has no broker.
    pub(in crate::session) fn given_up(&self, end: End) -> Rejected {
        match end.by {
            EndBy::Client => end.into(),
            EndBy::Upstream | EndBy::Proxy => self.answer(RejectReason::ServerUnavailable, end),
        }
    }

    pub(in crate::session) fn refuse(
        &self,
        refuse: RejectReason,
        phase: EndPhase,
        cause: EndCause,
    ) -> Rejected {
        self.answer(refuse, End::new(EndBy::Proxy, phase, cause))
    }

    fn answer(&self, refuse: RejectReason, end: End) -> Rejected {
        let version = self.record.client.as_ref().map(|client| client.version);
        let answer = version.map(|version| Reply::Own(refuse.connack(version)));
        Rejected { answer, ..end.into() }
    }
}

/// The broker of the pool that a Server Reference names, by its name or its address. It is a list
/// with spaces in between (5.0 §4.13).
fn referred(view: &PoolView, answered: &Answered) -> Option<Arc<Broker>> {
    let references = answered.connack.server_reference?.of(&answered.reply);
    let members = view.members();
    references.split_ascii_whitespace().find_map(|reference| {
        let named = members.list.iter().find(|member| member.broker.is_called(reference))?;
        Some(named.broker.clone())
    })
}
