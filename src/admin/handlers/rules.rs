//! `GET /api/v1/rules`, and `PATCH` of one of them.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    admin::{
        request::{MAX_BODY_BYTES, Query, RequestBody, members, shown},
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
    listener::{Listener, ListenerRules, RunningRule},
    metrics::TryOutcome,
    rules::{Action, Percent},
    upstream::Pool,
};

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let view = |listener: &Arc<Listener>| {
        let settings = listener.settings();
        let rules = settings.rules.iter().flat_map(ListenerRules::iter);
        api::ListenerRules {
            listener: settings.name.clone(),
            default_pool: settings.pool.name.clone(),
            traffic: traffic(&settings.pool),
            rules: rules.map(|running| rule_view(listener, running)).collect(),
        }
    };
    let listeners = state.snapshot.load().listeners.iter().map(view).collect();
    Ok(json(&api::Rules { listeners }))
}

pub(in crate::admin) async fn patch(
    state: &AdminState,
    query: Option<&str>,
    listener: &str,
    name: &str,
    body: RequestBody<'_>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let listener = find_listener(state, listener)?;
    view_of(&listener, name)?;
    let percent = percent_of(&body.json(MAX_BODY_BYTES).await?)?;
    if !listener.set_percent(name, percent) {
        return Err(unknown_rule(&listener, name));
    }
    let view = view_of(&listener, name)?;
    let (of, share) = (&listener.settings().name, view.percent);
    if percent.is_some() {
        tracing::info!(listener = %of, rule = name, percent = share, "set by the operator");
    } else {
        let message = "reset by the operator: the configured percent holds again";
        tracing::info!(listener = %of, rule = name, percent = share, "{message}");
    }
    if let Some(warning) = view.share_warning() {
        tracing::warn!(listener = %of, "{warning}");
    }
    // Sessions whose clients the rule now sends elsewhere are moved.
    state.snapshot.load().pools.iter().for_each(|pool| pool.note_rules_changed());
    Ok(json(&view))
}

/// Finds a listener by name.
pub(super) fn find_listener(
    state: &AdminState,
    name: &str,
) -> Result<Arc<Listener>, ErrorResponse> {
    let snapshot = state.snapshot.load();
    let mut names = Vec::new();
    for listener in &snapshot.listeners {
        let known = listener.settings().name.clone();
        if *known == *name {
            return Ok(listener.clone());
        }
        names.push(known);
    }
    let known = names.join(", ");
    Err(ErrorResponse::not_found(format!("no listener {name}; the configuration has {known}")))
}

fn view_of(listener: &Listener, name: &str) -> Result<api::Rule, ErrorResponse> {
    let settings = listener.settings();
    let mut rules = settings.rules.iter().flat_map(ListenerRules::iter);
    let running = rules.find(|running| *running.rule.name == *name);
    let running = running.ok_or_else(|| unknown_rule(listener, name))?;
    Ok(rule_view(listener, running))
}

fn unknown_rule(listener: &Listener, name: &str) -> ErrorResponse {
    let settings = listener.settings();
    let rules = settings.rules.iter().flat_map(ListenerRules::iter);
    let names: Vec<_> = rules.map(|running| &*running.rule.name).collect();
    let known = if names.is_empty() { "no rules".to_owned() } else { names.join(", ") };
    ErrorResponse::not_found(format!(
        "no rule {name} in listener {}; it has {known}",
        settings.name
    ))
}

/// The share that a body asks for; `None`: the configured one.
fn percent_of(body: &Value) -> Result<Option<Percent>, ErrorResponse> {
    let members = members(body, &["percent"], "an object with `percent`")?;
    let percent = members.get("percent").unwrap_or(&Value::Null);
    if percent.is_null() {
        return Ok(None);
    }
    // In JSON, 20.0 and 2e1 are the same number as 20.
    let number = percent.as_f64().and_then(|number| number.to_string().parse().ok());
    number.map(Some).ok_or_else(|| {
        ErrorResponse::bad_request(format!(
            "invalid `percent` {}; allowed: a number from 0 to 100 with up to two decimals, or null \
             for the configured share",
            shown(percent)
        ))
    })
}

fn rule_view(listener: &Listener, running: &RunningRule) -> api::Rule {
    let rule = &running.rule;
    let (action, target) = match (&rule.action, &running.pool) {
        (Action::Refuse(refusal), _) => ("refuse", refusal.as_str().into()),
        (Action::Redirect(server), _) => ("redirect", server.clone()),
        (Action::Pool(_), pool) => {
            ("pool", pool.as_ref().map_or_else(|| "".into(), |pool| pool.name.clone()))
        }
    };
    api::Rule {
        name: rule.name.clone(),
        action: action.into(),
        target,
        percent: running.percent().as_f64(),
        configured_percent: rule.percent.as_f64(),
        set_by_operator: listener.is_percent_set(&rule.name),
        hits: running.matched.get(),
        traffic: running.pool.as_deref().map(traffic),
    }
}

/// The sums of the counts of a pool's brokers.
fn traffic(pool: &Pool) -> api::Traffic {
    let mut sum = api::Traffic {
        sessions: 0,
        connects: 0,
        refused: 0,
        failed: 0,
        connacks: api::Counts::new(),
    };
    for member in &pool.members().list {
        let broker = &member.broker;
        sum.sessions += u64::from(broker.sessions());
        for (reason, count) in broker.metrics.connack_counts() {
            *sum.connacks.entry(reason).or_default() += count;
        }
        for outcome in TryOutcome::ALL {
            let count = broker.metrics.try_count(*outcome);
            sum.connects += count;
            match outcome {
                TryOutcome::Refused => sum.refused += count,
                TryOutcome::ConnectFailure
                | TryOutcome::ConnectTimeout
                | TryOutcome::NoPort
                | TryOutcome::NoConnack => sum.failed += count,
                TryOutcome::Accepted | TryOutcome::Abandoned => {}
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shares() {
        for (body, hundredths) in [
            (json!({ "percent": 0 }), Some(0)),
            (json!({ "percent": 20 }), Some(2000)),
            (json!({ "percent": 20.0 }), Some(2000)),
            (json!({ "percent": 0.07 }), Some(7)),
            (json!({ "percent": 1e2 }), Some(10_000)),
            (json!({ "percent": null }), None),
        ] {
            let wanted = hundredths.and_then(Percent::from_hundredths);
            assert_eq!(percent_of(&body).unwrap(), wanted, "{body}");
        }
        for body in [
            json!({}),
            json!([]),
            json!(20),
            json!({ "percent": "20" }),
            json!({ "percent": 100.01 }),
            json!({ "percent": -1 }),
            json!({ "percent": 0.005 }),
            json!({ "percent": 1e300 }),
            json!({ "percent": 20, "colour": "blue" }),
        ] {
            assert!(percent_of(&body).is_err(), "{body}");
        }
    }
}
