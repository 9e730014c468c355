//! Where a client may go, by the rules of its listener.

use std::rc::Rc;

use super::{
    accept_context::AcceptContext,
    active::ActiveSession,
    context::WorkerContext,
    end::End,
    pending::PendingClient,
    record::Record,
    reject::{RejectReply, Rejection},
};
use crate::{
    balance::Choice,
    labels::{EndBy, EndCause},
    proto::mqtt::{Connect, RejectReason, Version, connack},
    rules::{Action, ClientFacts, Refusal, key_hash},
};

/// Applies the rules of the listener: the record gets the rule that decides, and its pool. `connect`:
/// `None` if the client's TLS is passed through.
///
/// # Errors
/// The rule refuses the client, or sends it to another server.
pub(super) fn apply_rules(
    client: &mut PendingClient<'_>,
    accepted: &AcceptContext,
    connect: Option<&Connect>,
) -> Result<(), Rejection> {
    let Some(rules) = &accepted.settings.rules else { return Ok(()) };
    let Some(index) = decide(client.context, accepted, &client.record) else { return Ok(()) };
    let Some(running) = rules.get(index) else { return Ok(()) };
    running.matched.inc();
    if let Some(listener) = accepted.rules.get(index) {
        client.record.listener = listener.clone();
    }
    let name = &running.rule.name;
    let phase = client.check_phase();
    let end = |cause| End::new(EndBy::Proxy, phase, cause);
    match &running.rule.action {
        Action::Pool(_) => Ok(()),
        Action::Refuse(refusal) => {
            let detail = format!("rule {name} refuses the client: {}", refusal.as_str());
            Err(client.refuse_with(reason(*refusal), end(EndCause::Refused).with(detail)))
        }
        Action::Redirect(server) => {
            let detail = format!("rule {name} sends the client to {server}");
            let end = end(EndCause::Refused).with(detail);
            let mut refused = client.refuse_with(RejectReason::UseAnotherServer, end);
            if let Some(connect) = connect
                && connect.version == Version::V5
                && let Some(RejectReply::Proxy(connack)) = &refused.reply
            {
                let packet = connack::use_another_server(server, connect.maximum_packet_size);
                refused.reply = Some(RejectReply::Redirect(Box::new((*connack, packet))));
            }
            Err(refused)
        }
    }
}

/// Applies the current rules to a client that has waited since they were applied first. Returns
/// whether they send it to another pool.
///
/// # Errors
/// As of [`apply_rules`].
pub(super) fn follow_rules(
    client: &mut PendingClient<'_>,
    connect: Option<&Connect>,
) -> Result<bool, Rejection> {
    let before = client.record.listener.clone();
    let Some(accepted) = client.context.accept_context(&before) else { return Ok(false) };
    let decided = decide(client.context, &accepted, &client.record);
    let rule = decided.and_then(|index| accepted.settings.rules.as_ref()?.get(index));
    let listener = decided.and_then(|index| accepted.rules.get(index));
    let listener = listener.unwrap_or(&accepted.listener);
    let is_to_pool = rule.is_none_or(|rule| matches!(rule.rule.action, Action::Pool(_)));
    let is_same_pool = Rc::ptr_eq(&listener.pool, &before.pool);
    // Otherwise it would count for its rule again.
    if is_to_pool && is_same_pool && listener.rule == before.rule {
        return Ok(false);
    }
    client.record.listener = accepted.listener.clone();
    apply_rules(client, &accepted, connect)?;
    Ok(!is_same_pool)
}

/// A number that changes with the rules of the listener. (It also changes when its brokers do.)
pub(super) fn rules_version(accepted: &AcceptContext) -> u64 {
    accepted.listener.pool.pool.move_count()
}

/// Has the worker look for sessions that belong elsewhere again if the rules have changed since they
/// decided about the client: when it looked last, this session had not begun.
pub(super) fn note_outdated_rules(
    client: &PendingClient<'_>,
    accepted: &AcceptContext,
    decided_at: u64,
) {
    if rules_version(accepted) != decided_at {
        client.record.listener.pool.forget_moves();
    }
}

/// What the current rules say of a session's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CurrentDestination {
    /// The pool of the session, or unknown, as the listener is gone.
    SamePool,
    /// Another pool or another server.
    Elsewhere,
    Refused,
}

/// Where the rules would send the client of a session now.
pub(super) fn current_destination(
    context: &WorkerContext,
    session: &ActiveSession,
) -> CurrentDestination {
    let record = &session.record;
    let Some(accepted) = context.accept_context(&record.listener) else {
        return CurrentDestination::SamePool;
    };
    let decided = decide(context, &accepted, record);
    let running = accepted.settings.rules.as_ref().zip(decided);
    let pool = match running.and_then(|(rules, index)| Some((rules.get(index)?, index))) {
        None => &accepted.listener.pool,
        Some((running, index)) => match running.rule.action {
            Action::Refuse(_) => return CurrentDestination::Refused,
            Action::Redirect(_) => return CurrentDestination::Elsewhere,
            Action::Pool(_) => match accepted.rules.get(index) {
                Some(listener) => &listener.pool,
                None => return CurrentDestination::SamePool,
            },
        },
    };
    if Rc::ptr_eq(pool, &record.listener.pool) {
        CurrentDestination::SamePool
    } else {
        CurrentDestination::Elsewhere
    }
}

/// The index of the rule that decides about a client.
fn decide(context: &WorkerContext, accepted: &AcceptContext, record: &Record) -> Option<usize> {
    let rules = accepted.settings.rules.as_ref()?;
    let client = record.client.as_ref();
    let fields = record.fields();
    let facts = ClientFacts {
        fields,
        path: record.path(),
        clean_start: client.map(|client| client.clean_start),
        has_password: client.map(|client| client.has_password),
        will: client.map(|client| client.will),
    };
    // The key of the pool that no rule has to name, so that every rule divides the same clients.
    let hash = || {
        let balance = &accepted.listener.pool.current_config().balance;
        let mut scratch = context.key.lend();
        match balance.key.choose(balance.empty_client_id, &fields, &mut scratch) {
            Choice::Key(key) | Choice::FallbackKey(key) => Some(key_hash(key)),
            Choice::LeastConnections | Choice::Assign | Choice::Reject => None,
        }
    };
    rules.decide(&facts, hash)
}

/// What a refused client is told.
fn reason(refusal: Refusal) -> RejectReason {
    match refusal {
        Refusal::Banned => RejectReason::Banned,
        Refusal::NotAuthorized => RejectReason::NotAuthorized,
        Refusal::BadCredentials => RejectReason::BadCredentials,
        Refusal::IdentifierRejected => RejectReason::IdentifierRejected,
        Refusal::ServerUnavailable => RejectReason::ServerUnavailable,
        Refusal::ServerBusy => RejectReason::ServerBusy,
        Refusal::QuotaExceeded => RejectReason::QuotaExceeded,
    }
}
