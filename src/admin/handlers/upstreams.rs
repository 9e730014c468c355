//! `GET /api/v1/upstreams`, and `PATCH` of one of them.

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Instant,
};

use serde_json::Value;

use crate::{
    admin::{
        request::{MAX_BODY_BYTES, Query, RequestBody, members, shown},
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api::{self, Change, State, Weight},
    config::Address,
    upstream::{BrokerOverview, BrokerState, HostAddresses, Pool, WeightError},
};

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let view = |pool: &Arc<Pool>| {
        let not_serving = pool.not_serving();
        api::Pool {
            name: pool.name.clone(),
            algorithm: pool.config().balance.algorithm.as_str().into(),
            failing_open: pool.is_failing_open(),
            serving: not_serving.is_none(),
            not_serving,
            upstreams: pool.overviews().into_iter().map(upstream_view).collect(),
        }
    };
    let pools = state.snapshot.load().pools.iter().map(view).collect();
    Ok(json(&api::Pools { pools }))
}

pub(in crate::admin) async fn patch(
    state: &AdminState,
    query: Option<&str>,
    pool: &str,
    name: &str,
    body: RequestBody<'_>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let pool = find_pool(state, pool)?;
    let unknown = || ErrorResponse::not_found(format!("no broker {name} in pool {}", pool.name));
    pool.overview(name).ok_or_else(unknown)?;
    let change = change_of(&body.json(MAX_BODY_BYTES).await?)?;
    // The weight comes first, because only it can be refused, and then nothing must change.
    if let Some(Weight(weight)) = change.weight {
        pool.set_weight(name, weight.map(NonZeroU32::from)).map_err(|error| match error {
            WeightError::Unknown(_) => unknown(),
            WeightError::LimitExceeded(_) => ErrorResponse::bad_request(error.to_string()),
        })?;
    }
    if let Some(state) = change.state {
        let state = match state {
            State::Ready => BrokerState::Ready,
            State::Drain => BrokerState::Draining,
            State::Down => BrokerState::Down,
        };
        pool.set_state(name, state, Instant::now()).map_err(|_| unknown())?;
    }
    let overview = pool.overview(name).ok_or_else(unknown)?;
    Ok(json(&upstream_view(overview)))
}

/// Finds a pool by name.
pub(super) fn find_pool(state: &AdminState, name: &str) -> Result<Arc<Pool>, ErrorResponse> {
    let snapshot = state.snapshot.load();
    let found = snapshot.pools.iter().find(|pool| *pool.name == *name).cloned();
    found.ok_or_else(|| {
        let names: Vec<_> = snapshot.pools.iter().map(|pool| &*pool.name).collect();
        ErrorResponse::not_found(format!(
            "no pool {name}; the configuration has {}",
            names.join(", ")
        ))
    })
}

fn change_of(body: &Value) -> Result<Change, ErrorResponse> {
    let members =
        members(body, &["state", "weight"], "an object with `state` or `weight` or both")?;
    let state = members.get("state").map(state_of).transpose()?;
    let weight = members.get("weight").map(weight_of).transpose()?;
    Ok(Change { state, weight })
}

fn state_of(value: &Value) -> Result<State, ErrorResponse> {
    let known = State::ALL.into_iter().find(|state| value.as_str() == Some(state.as_str()));
    known.ok_or_else(|| {
        let allowed = State::ALL.map(State::as_str).join(", ");
        ErrorResponse::bad_request(format!("invalid `state` {}; allowed: {allowed}", shown(value)))
    })
}

fn weight_of(value: &Value) -> Result<Weight, ErrorResponse> {
    if value.is_null() {
        return Ok(Weight(None));
    }
    // In JSON, 3.0 is a whole number.
    let whole = value.as_f64().filter(|weight| weight.fract() == 0.0);
    let allowed = whole.filter(|weight| (1.0..=f64::from(u16::MAX)).contains(weight));
    let weight = allowed.and_then(|weight| NonZeroU16::new(weight as u16));
    weight.map(|weight| Weight(Some(weight))).ok_or_else(|| {
        let allowed = "a whole number from 1 to 65535, or null for the configured weight";
        ErrorResponse::bad_request(format!("invalid `weight` {}; allowed: {allowed}", shown(value)))
    })
}

fn upstream_view(overview: BrokerOverview) -> api::Upstream {
    let BrokerOverview { member, state, up, status, discovered } = overview;
    let broker = &member.broker;
    let endpoint = broker.endpoint();
    let places = endpoint.addresses().filter(|_| matches!(endpoint.address, Address::Host(..)));
    let others = places.iter().flat_map(HostAddresses::others);
    api::Upstream {
        name: broker.name.clone(),
        address: endpoint.address.to_string(),
        resolved: places.as_ref().map(|places| places.first().to_string()),
        other_addresses: others.map(ToString::to_string).collect(),
        state: match state {
            BrokerState::Ready => State::Ready,
            BrokerState::Draining => State::Drain,
            BrokerState::Down => State::Down,
        },
        up,
        serving: broker.load().is_some(),
        status: status.as_str().into(),
        weight: member.weight.get(),
        configured_weight: member.configured_weight.get(),
        backup: member.backup,
        max_connections: broker.max_connections().map_or(0, NonZeroU32::get),
        discovered,
        sessions: broker.sessions(),
        connacks: broker.metrics.connack_counts(),
        tries: broker.metrics.try_counts(),
        bytes_in: broker.metrics.bytes_in.get(),
        bytes_out: broker.metrics.bytes_out.get(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes() {
        let weight = |weight| Some(Weight(NonZeroU16::new(weight)));
        for (body, state, weight) in [
            (json!({ "state": "drain" }), Some(State::Drain), None),
            (json!({ "weight": 65535 }), None, weight(65535)),
            (json!({ "weight": 3.0 }), None, weight(3)),
            (json!({ "weight": null, "state": "down" }), Some(State::Down), Some(Weight(None))),
        ] {
            assert_eq!(change_of(&body).unwrap(), Change { state, weight }, "{body}");
        }
        for body in [
            json!({}),
            json!([]),
            json!("drain"),
            json!(null),
            json!({ "state": null }),
            json!({ "state": "Drain" }),
            json!({ "weight": 0 }),
            json!({ "weight": 65536 }),
            json!({ "weight": -1 }),
            json!({ "weight": 1.5 }),
            json!({ "weight": "1" }),
            json!({ "state": "drain", "colour": "blue" }),
        ] {
            assert!(change_of(&body).is_err(), "{body}");
        }
    }
}
