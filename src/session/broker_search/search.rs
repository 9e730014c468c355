//! What a search knows about the brokers tried so far, and what it concludes from that.

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::{
    choose::{NoRoutingKey, choose},
    connack::client_hash,
    outcome::{BrokerAnswer, BrokerFailure, ConnackClass, FailureKind},
};
use crate::{
    labels::{EndBy, EndCause, EndPhase, RouteKind},
    proto::mqtt::RejectReason,
    session::{
        end::End,
        pending::PendingClient,
        pool_view::PoolView,
        record::{ConnackSent, Record, RouteTaken},
        reject::{RejectReply, Rejection},
    },
    upstream::{AllBrokersFailed, Broker, Pool},
};

/// What is known about the brokers tried so far.
#[derive(Default)]
pub(super) struct BrokerSearch {
    pub(super) tried: Vec<Arc<Broker>>,
    /// Brokers that did not take this client. The cause may be the client, or a fault that all
    /// brokers share, so these failures count only if another broker takes the client.
    suspects: Vec<Suspect>,
    /// The broker that the last broker referred the client to (5.0 §4.13).
    referred: Option<Arc<Broker>>,
    /// The last refusal, sent to the client if there is no better answer.
    refusal: Option<Box<KeptRefusal>>,
    /// Whether a chosen broker could not be leased.
    lease_has_failed: bool,
    /// How the last attempt failed.
    failure: Option<End>,
}

/// A broker that did not take the client.
struct Suspect {
    broker: Arc<Broker>,
    failure: BrokerFailure,
}

/// A broker's refusal, kept while others are tried.
struct KeptRefusal {
    bytes: Vec<u8>,
    route: Option<RouteTaken>,
    connack: Option<ConnackSent>,
}

impl BrokerSearch {
    /// The best broker not tried yet, and why it is the best.
    pub(super) fn choose(
        &mut self,
        client: &PendingClient<'_>,
    ) -> Result<Option<(Arc<Broker>, RouteKind)>, Rejection> {
        if let Some(referred) = self.referred.take()
            && referred.load().is_some()
            && !self.tried.iter().any(|tried| Arc::ptr_eq(tried, &referred))
        {
            return Ok(Some((referred, RouteKind::Referred)));
        }
        let record = &client.record;
        let chosen = choose(client.context, &record.listener.pool, &record.fields(), &self.tried);
        chosen.map_err(|NoRoutingKey| {
            client
                .refuse(RejectReason::IdentifierRejected, EndPhase::Connect, EndCause::Refused)
                .with("empty client ID, and empty_client_id is reject")
        })
    }

    /// Records that a chosen broker could not be leased. If it has just become full it is not
    /// excluded the first time: the client may have a session of its own there.
    pub(super) fn lease_failed(&mut self, broker: Arc<Broker>) {
        if self.lease_has_failed || !broker.is_full() {
            self.tried.push(broker);
        }
        self.lease_has_failed = true;
    }

    /// Records that a broker refused the client.
    pub(super) fn note_refusal(&mut self, view: &PoolView, answer: &BrokerAnswer) {
        self.referred = referred_broker(view, answer);
        self.tried.push(answer.lease.broker().clone());
    }

    /// Keeps a refusal, now that another broker is tried.
    pub(super) fn keep_refusal(
        &mut self,
        record: &mut Record,
        answer: BrokerAnswer,
        class: ConnackClass,
        (began, conforms): (Instant, bool),
    ) {
        if class != ConnackClass::UseAnother && conforms {
            let (broker, trial) = (answer.lease.broker().clone(), answer.lease.take_trial());
            let failure = BrokerFailure { began, kind: FailureKind::NoAnswer, trial };
            self.suspects.push(Suspect { broker, failure });
        }
        self.refusal = Some(Box::new(KeptRefusal {
            bytes: answer.bytes,
            route: record.route.take(),
            connack: record.connack.take(),
        }));
    }

    /// Records that a broker failed the client.
    pub(super) fn note_failure(
        &mut self,
        broker: Arc<Broker>,
        failure: Option<BrokerFailure>,
        end: End,
    ) {
        self.tried.push(broker.clone());
        self.suspects.extend(failure.map(|failure| Suspect { broker, failure }));
        self.failure = Some(end);
    }

    /// Records what an answer shows about the broker that gave it and about the brokers that failed
    /// before.
    pub(super) fn record_answer(
        &mut self,
        pool: &Pool,
        answer: &BrokerAnswer,
        class: ConnackClass,
    ) {
        let now = Instant::now();
        let is_decided = matches!(class, ConnackClass::Final | ConnackClass::UseAnother);
        if is_decided {
            answer.lease.settle();
            pool.record_success(answer.lease.broker(), now);
        }
        let is_accepted = answer.is_accepted();
        // No client can make a broker unreachable, so any final answer of another broker proves
        // that.
        let is_proven = |suspect: &mut Suspect| {
            is_accepted || is_decided && suspect.failure.kind == FailureKind::Unreachable
        };
        for Suspect { broker, failure } in self.suspects.extract_if(.., is_proven) {
            drop(failure.trial);
            pool.record_failure(&broker, failure.began, now);
        }
    }

    /// Records the failures that no other broker's answer has proven. Returns how the brokers
    /// failed the client, if every broker that was tried failed.
    pub(super) fn record_unproven_failures(&mut self, pool: &Pool) -> Option<FailureKind> {
        let now = Instant::now();
        let all_failed = self.suspects.len() == self.tried.len();
        let mut worst = None;
        for Suspect { broker, failure } in self.suspects.drain(..) {
            drop(failure.trial);
            if failure.kind != FailureKind::NoAnswer {
                pool.record_lone_failure(&broker, failure.began, now);
            }
            if worst.is_none_or(|kind| kind == FailureKind::Unreachable) {
                worst = Some(failure.kind);
            }
        }
        worst.filter(|_| all_failed)
    }

    /// The rejection when no broker took the client: with the last broker's refusal if there is
    /// one, otherwise with the proxy's own.
    pub(super) fn give_up(mut self, client: &mut PendingClient<'_>) -> Rejection {
        let view = client.record.listener.pool.clone();
        let pool = &view.pool;
        let failed = self.record_unproven_failures(pool);
        if let Some(refusal) = self.refusal {
            let KeptRefusal { bytes, route, connack } = *refusal;
            (client.record.route, client.record.connack) = (route, connack);
            let end = End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Refused);
            let end = match self.failure {
                Some(failure) => {
                    end.with(failure.detail.unwrap_or(Cow::Borrowed("other brokers failed")))
                }
                None => end,
            };
            return Rejection { reply: Some(RejectReply::Broker(bytes)), ..end.into() };
        }
        let now = Instant::now();
        if let Some(failure) = self.failure {
            match failed {
                Some(FailureKind::Unreachable) => {
                    pool.record_refusal(AllBrokersFailed::Unreachable, now);
                }
                Some(FailureKind::Silent | FailureKind::NoAnswer) => {
                    pool.record_refusal(AllBrokersFailed::Unanswered(client_hash(client)), now);
                }
                None => {}
            }
            return client.refuse_with(RejectReason::ServerUnavailable, failure);
        }
        let members = view.members();
        if members.list.iter().any(|member| member.broker.is_full()) {
            return client
                .refuse(RejectReason::ServerBusy, EndPhase::Dial, EndCause::Limit)
                .with("every available broker has reached its max_connections");
        }
        if self.tried.is_empty() {
            pool.record_refusal(AllBrokersFailed::Unreachable, now);
        }
        let why = if members.list.is_empty() {
            "no broker has been discovered yet"
        } else {
            "every broker is down, ejected, draining or not resolved yet"
        };
        client
            .refuse(RejectReason::ServerUnavailable, EndPhase::Dial, EndCause::NoUpstream)
            .with(why)
    }
}

/// The pool's broker that a Server Reference names, by name or by address. The reference is a list
/// separated by spaces (5.0 §4.13).
fn referred_broker(view: &PoolView, answer: &BrokerAnswer) -> Option<Arc<Broker>> {
    let references = answer.connack.as_ref()?.server_reference?.of(&answer.bytes);
    let members = view.members();
    references.split_ascii_whitespace().find_map(|reference| {
        let named =
            members.list.iter().find(|member| member.broker.matches_reference(reference))?;
        Some(named.broker.clone())
    })
}
