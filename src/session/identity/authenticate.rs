//! The token that a client proves its identity with.

use std::{future::poll_fn, pin::pin, task::Poll};

use super::refusal::refuse_credentials;
use crate::{
    config::{Jwt, TokenSource},
    jwt::{Claims, JwtError},
    listener::{ListenerRules, ListenerSettings},
    proto::mqtt::{Connect, RejectReason},
    session::{pending::PendingClient, reject::Rejection},
    template::{Claim, Variable},
    timestamp::unix_seconds,
};

/// The name of this rule in metrics.
const RULE: &str = "authenticate.jwt";

/// The claim that the log has: the subject of the token (RFC 7519, section 4.1.2).
const SUBJECT: &str = "sub";

/// Verifies the client's token, and keeps the claims that the configuration names.
pub(super) async fn verify(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    connect: &Connect,
    jwt: &Jwt,
) -> Result<(), Rejection> {
    let context = client.context;
    let span = match jwt.from {
        TokenSource::Password => connect.password,
        TokenSource::Username => connect.username,
    };
    let token = span.and_then(|span| client.buffer.get(span.range())).unwrap_or_default();
    let now = unix_seconds(context.reactor.wall_clock()).cast_unsigned();
    let mut verification = match jwt.verifier.begin(token, now) {
        Ok(verification) => verification,
        Err(error) => return Err(rejection(client, settings, &error)),
    };
    // A signature takes as long as dozens of pings: each is a step of its own.
    let verifying = pin!(poll_fn(|cx| {
        if let Some(verified) = verification.try_next_key() {
            return Poll::Ready(verified);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    let claims = match context.reactor.turn.pace(verifying).await {
        Ok(claims) => claims,
        Err(error) => return Err(rejection(client, settings, &error)),
    };
    let kept = named_claims(client, settings, &claims);
    // Until then, a client that comes back with the token is let in.
    let expires = claims.expires_at().filter(|_| jwt.closes_on_expiry);
    let expires = expires.map(|at| at.saturating_add(jwt.verifier.leeway));
    let left = expires.map(|at| u32::try_from(at.saturating_sub(now)).unwrap_or(u32::MAX));
    let expires = left.map(|left| context.seconds().saturating_add(left));
    let facts = client.record.identity.get_or_insert_default();
    (facts.claims, facts.expires) = (kept, expires);
    Ok(())
}

fn rejection(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    error: &JwtError,
) -> Rejection {
    let reason =
        if error.is_genuine() { RejectReason::NotAuthorized } else { RejectReason::BadCredentials };
    refuse_credentials(client, settings, RULE, reason, error.to_string())
}

/// The claims that templates name, and the subject.
fn named_claims(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    claims: &Claims,
) -> Box<[Claim]> {
    let quotas = client.context.limiter.quotas.current();
    let rules = || settings.rules.iter().flat_map(ListenerRules::iter);
    let pools: Vec<_> =
        rules().filter_map(|running| Some(running.pool.as_ref()?.config())).collect();
    let pool = client.record.listener.pool.current_config();
    let of_listener = settings.identity.iter().flat_map(|identity| identity.variables());
    let of_rules = rules().flat_map(|running| running.rule.when.variables());
    let of_pools = pools.iter().flat_map(|pool| pool.variables());
    let of_quotas = quotas.variables();
    let variables =
        of_listener.chain(pool.variables()).chain(of_rules).chain(of_pools).chain(of_quotas);
    let names = variables.filter_map(|variable| match variable {
        Variable::Jwt(name) => Some(&**name),
        _ => None,
    });
    let mut kept: Vec<Claim> = Vec::new();
    for name in [SUBJECT].into_iter().chain(names) {
        if kept.iter().all(|claim| &*claim.name != name)
            && let Some(value) = claims.text(name).filter(|value| !value.contains(char::is_control))
        {
            kept.push(Claim { name: name.into(), value: value.into() });
        }
    }
    kept.into()
}
