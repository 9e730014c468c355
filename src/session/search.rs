//! Which broker takes a CONNECT: one after the other is asked, never two at once, until one does.

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::{
    answer::Answer,
    ask::{Answered, Asked, Verdict},
    choose::{NoIdentity, choose},
    end::End,
    handshake::Opening,
    record::Way,
    reject::{Rejected, Reply},
    view::PoolView,
};
use crate::{
    mqtt::{Connect, Refuse},
    observe::{EndBy, EndCause, EndPhase, RouteKind},
    upstream::{Broker, Pool},
};

/// What is known so far of the brokers that were asked.
#[derive(Default)]
struct Search {
    tried: Vec<Arc<Broker>>,
    /// Those that did not take this CONNECT, which may have been its own fault: they are blamed
    /// only if another broker takes it. Else any client could have a broker ejected.
    suspects: Vec<Suspect>,
    /// The broker that the last one referred the client to (5.0 §4.13).
    referred: Option<Arc<Broker>>,
    /// The last no, for the client if there is no better answer.
    refused: Option<Box<Refused>>,
    /// How the last try failed.
    failure: Option<End>,
}

/// A broker that did not take the CONNECT which it was sent at `began`.
struct Suspect {
    broker: Arc<Broker>,
    began: Instant,
}

/// A broker's no, kept while others are asked.
struct Refused {
    reply: Vec<u8>,
    way: Option<Way>,
    answer: Option<Answer>,
}

impl Search {
    fn suspect_last(&mut self, began: Instant) {
        let last = self.tried.last().cloned();
        self.suspects.extend(last.map(|broker| Suspect { broker, began }));
    }
}

impl Opening<'_> {
    /// Offers the CONNECT to brokers in order until one has an answer that is worth passing on.
    pub(super) async fn find_broker(&mut self, connect: &Connect) -> Result<Answered, Rejected> {
        let view = self.record.origin.pool.clone();
        let (pool, config) = (&view.pool, view.config());
        let mut tries_left = config.tries.get();
        let mut search = Search::default();
        let mut next = self.choose(connect, &mut search)?;
        while let Some((broker, route)) = next.take() {
            if !broker.admission.try_enter(self.shard.reactor.now()) {
                // Boxed, as few handshakes need the room for it.
                Box::pin(self.wait_for_turn(connect, &broker)).await?;
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
            let began = Instant::now();
            let retry = match self.ask(connect, lease, route).await? {
                Asked::Answered(answered) => {
                    let verdict = Verdict::of(connect.version, answered.connack.code);
                    // Once it has taken part in an authentication, a client can't be handed on.
                    let alone = (self.record.read, self.record.sent) == (0, 0);
                    if !alone || !verdict.wants_another(config.retry_on) {
                        Self::judge(pool, &search, &answered, verdict);
                        return Ok(answered);
                    }
                    search.referred = referred(&view, &answered);
                    search.tried.push(answered.lease.broker().clone());
                    if tries_left > 0 {
                        next = self.choose(connect, &mut search)?;
                    }
                    Self::judge(pool, &search, &answered, verdict);
                    if next.is_none() {
                        return Ok(answered);
                    }
                    if verdict != Verdict::Elsewhere {
                        search.suspect_last(began);
                    }
                    search.refused = Some(Box::new(Refused {
                        reply: answered.reply,
                        way: self.record.way.take(),
                        answer: self.record.answer.take(),
                    }));
                    false
                }
                Asked::Failed { broker, end, retry } => {
                    search.tried.push(broker);
                    if end.by == EndBy::Upstream {
                        search.suspect_last(began);
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
        let client = self.record.for_route(
            connect.client_id.of(&self.buffer),
            connect.username.map(|username| username.of(&self.buffer)),
        );
        let chosen = choose(self.shard, &self.record.origin.pool, &client, &search.tried);
        chosen.map_err(|NoIdentity| {
            self.refuse(Refuse::IdentifierRejected, EndPhase::Connect, EndCause::Refused)
                .with("empty client ID, and empty_client_id is reject")
        })
    }

    /// What an answer says of the broker that gave it, and of those that had none.
    fn judge(pool: &Pool, search: &Search, answered: &Answered, verdict: Verdict) {
        let now = Instant::now();
        if matches!(verdict, Verdict::Final | Verdict::Elsewhere) {
            answered.lease.settle();
            pool.record_success(answered.lease.broker(), now);
        }
        if answered.connack.code == 0 {
            for suspect in &search.suspects {
                pool.record_failure(&suspect.broker, suspect.began, now);
            }
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
            return Rejected { end, answer: Some(Reply::Brokers(reply)) };
        }
        if let Some(failure) = search.failure {
            return self.answer(Refuse::ServerUnavailable, failure);
        }
        let view = &self.record.origin.pool;
        let members = view.members();
        if members.list.iter().any(|member| member.broker.is_full()) {
            return self
                .refuse(Refuse::ServerBusy, EndPhase::Dial, EndCause::Limit)
                .with("every broker that could serve has its max_connections");
        }
        let why = if members.list.is_empty() {
            "no broker has been discovered yet"
        } else {
            "every broker is down, ejected, draining or not resolved yet"
        };
        self.refuse(Refuse::ServerUnavailable, EndPhase::Dial, EndCause::NoUpstream).with(why)
    }

    /// Tells a client that is still there that it has no broker.
    pub(super) fn given_up(&self, end: End) -> Rejected {
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
        let answer = version.map(|version| Reply::Own(refuse.connack(version)));
        Rejected { end, answer }
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
