//! `/api/v1/upstreams`, and the operator's word on one of them.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use bytes::Bytes;
use hyper::{HeaderMap, body::Body};
use serde::Serialize;
use serde_json::Value;

use super::{
    AdminState,
    answer::{Answer, Refusal, json},
    request::{Query, json_body, shown},
};
use crate::{
    config::Address,
    metrics::Counts,
    upstream::{BrokerState, HostAddresses, Overview, Pool, WeightError},
};

#[derive(Serialize)]
struct Pools {
    pools: Vec<PoolView>,
}

#[derive(Serialize)]
struct PoolView {
    name: Arc<str>,
    algorithm: &'static str,
    failing_open: bool,
    serving: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_serving: Option<String>,
    upstreams: Vec<Upstream>,
}

#[derive(Serialize)]
struct Upstream {
    name: Arc<str>,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_addresses: Vec<String>,
    state: &'static str,
    up: bool,
    serving: bool,
    status: &'static str,
    weight: u32,
    configured_weight: u32,
    backup: bool,
    max_connections: u32,
    discovered: bool,
    sessions: u32,
    connacks: Counts,
    tries: Counts,
    bytes_in: u64,
    bytes_out: u64,
}

pub(super) fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    Query::parse(query, &[])?;
    let view = |pool: &Arc<Pool>| {
        let not_serving = pool.not_serving();
        PoolView {
            name: pool.name.clone(),
            algorithm: pool.config().balance.algorithm.as_str(),
            failing_open: pool.is_failing_open(),
            serving: not_serving.is_none(),
            not_serving,
            upstreams: pool.overviews().into_iter().map(Upstream::new).collect(),
        }
    };
    let pools = state.snapshot.load().pools.iter().map(view).collect();
    Ok(json(&Pools { pools }))
}

/// What is to become of a broker.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    state: Option<BrokerState>,
    weight: Option<Weight>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Configured,
    Of(NonZeroU32),
}

pub(super) async fn patch<B>(
    state: &AdminState,
    query: Option<&str>,
    pool: &str,
    name: &str,
    headers: &HeaderMap,
    body: B,
) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Query::parse(query, &[])?;
    let pool = find_pool(state, pool)?;
    let unknown = || Refusal::not_found(format!("no broker {name} in pool {}", pool.name));
    pool.overview(name).ok_or_else(unknown)?;
    let change = Change::parse(&json_body(headers, body).await?)?;
    // The weight first: it can be refused, and then nothing is to change.
    if let Some(weight) = change.weight {
        let weight = match weight {
            Weight::Configured => None,
            Weight::Of(weight) => Some(weight),
        };
        pool.set_weight(name, weight).map_err(|error| match error {
            WeightError::Unknown(_) => unknown(),
            WeightError::TooHeavy(_) => Refusal::bad_request(error.to_string()),
        })?;
    }
    if let Some(state) = change.state {
        pool.set_state(name, state, Instant::now()).map_err(|_| unknown())?;
    }
    let overview = pool.overview(name).ok_or_else(unknown)?;
    Ok(json(&Upstream::new(overview)))
}

/// The pool of that name.
pub(super) fn find_pool(state: &AdminState, name: &str) -> Result<Arc<Pool>, Refusal> {
    let snapshot = state.snapshot.load();
    let found = snapshot.pools.iter().find(|pool| *pool.name == *name).cloned();
    found.ok_or_else(|| {
        let names: Vec<_> = snapshot.pools.iter().map(|pool| &*pool.name).collect();
        Refusal::not_found(format!("no pool {name}; there are {}", names.join(", ")))
    })
}

impl Change {
    fn parse(body: &Value) -> Result<Self, Refusal> {
        const ALLOWED: &str = "allowed: an object with `state` or `weight` or both";
        let Value::Object(members) = body else {
            return Err(Refusal::bad_request(format!("the body is no object; {ALLOWED}")));
        };
        if members.is_empty() {
            return Err(Refusal::bad_request(format!("the body is empty; {ALLOWED}")));
        }
        let mut change = Self::default();
        for (name, value) in members {
            match &**name {
                "state" => change.state = Some(state_of(value)?),
                "weight" => change.weight = Some(weight_of(value)?),
                other => {
                    let error = format!("{other:?} is unknown; {ALLOWED}");
                    return Err(Refusal::bad_request(error));
                }
            }
        }
        Ok(change)
    }
}

const STATES: [(&str, BrokerState); 3] =
    [("ready", BrokerState::Ready), ("drain", BrokerState::Draining), ("down", BrokerState::Down)];

fn state_of(value: &Value) -> Result<BrokerState, Refusal> {
    let word = value.as_str();
    let known = STATES.iter().find(|(known, _)| Some(*known) == word);
    known.map(|(_, state)| *state).ok_or_else(|| {
        let error = format!("`state` is {}; allowed: ready, drain, down", shown(value));
        Refusal::bad_request(error)
    })
}

fn weight_of(value: &Value) -> Result<Weight, Refusal> {
    if value.is_null() {
        return Ok(Weight::Configured);
    }
    // As in the configuration; 3.0 is a whole number in JSON.
    let whole = value.as_f64().filter(|weight| weight.fract() == 0.0);
    let allowed = whole.filter(|weight| (1.0..=f64::from(u16::MAX)).contains(weight));
    let weight = allowed.and_then(|weight| NonZeroU32::new(weight as u32));
    weight.map(Weight::Of).ok_or_else(|| {
        let allowed = "a whole number from 1 to 65535, or null for the configured one";
        Refusal::bad_request(format!("`weight` is {}; allowed: {allowed}", shown(value)))
    })
}

impl Upstream {
    fn new(overview: Overview) -> Self {
        let Overview { member, state, up, status, discovered } = overview;
        let broker = &member.broker;
        let endpoint = broker.endpoint();
        let places = endpoint.places().filter(|_| matches!(endpoint.address, Address::Host(..)));
        let others = places.iter().flat_map(HostAddresses::others);
        let word = STATES.iter().find(|(_, known)| *known == state);
        Self {
            name: broker.name.clone(),
            address: endpoint.address.to_string(),
            resolved: places.as_ref().map(|places| places.first().to_string()),
            other_addresses: others.map(ToString::to_string).collect(),
            state: word.map_or("ready", |(word, _)| word),
            up,
            serving: broker.load().is_some(),
            status: status.as_str(),
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes() {
        let weight = |weight| Some(Weight::Of(NonZeroU32::new(weight).unwrap()));
        for (body, state, weight) in [
            (json!({ "state": "drain" }), Some(BrokerState::Draining), None),
            (json!({ "weight": 65535 }), None, weight(65535)),
            (json!({ "weight": 3.0 }), None, weight(3)),
            (
                json!({ "weight": null, "state": "down" }),
                Some(BrokerState::Down),
                Some(Weight::Configured),
            ),
        ] {
            assert_eq!(Change::parse(&body).unwrap(), Change { state, weight }, "{body}");
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
            assert!(Change::parse(&body).is_err(), "{body}");
        }
    }
}
