//! `/api/v1/route`: where a client would go, and where it is.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use serde::Serialize;

use super::{
    AdminState,
    answer::{Answer, Refusal, json},
    request::Query,
    upstreams::find_pool,
};
use crate::{route::Client, upstream::Pool};

#[derive(Serialize)]
struct Routes<'a> {
    client_id: &'a str,
    pools: Vec<PoolRoute>,
}

#[derive(Serialize)]
struct PoolRoute {
    pool: Arc<str>,
    order: Vec<Candidate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goes_to: Option<Arc<str>>,
    /// Why there is no order.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct Candidate {
    upstream: Arc<str>,
    serving: bool,
}

#[expect(clippy::unused_async)]
pub(super) async fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    let query = Query::parse(query, &["client_id", "username", "source", "tls_cn", "sni", "pool"])?;
    let client_id = query.text("client_id").ok_or_else(|| {
        Refusal::bad_request("`client_id` is missing; it may be empty: `client_id=`")
    })?;
    let client = Client {
        client_id,
        username: query.text("username"),
        source_ip: query
            .parsed("source", "an IP address")?
            .or(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        tls_cn: query.text("tls_cn"),
        sni: query.text("sni"),
    };
    let pools = match query.text("pool") {
        Some(name) => vec![find_pool(state, name)?],
        None => state.snapshot.load().pools.clone(),
    };
    let pools = pools.iter().map(|pool| PoolRoute::new(pool, &client)).collect();
    Ok(json(&Routes { client_id, pools }))
}

impl PoolRoute {
    fn new(pool: &Pool, client: &Client<'_>) -> Self {
        let name = pool.config.name.clone();
        match pool.forecast(client, Instant::now()) {
            Ok(forecast) => Self {
                pool: name,
                order: forecast
                    .order
                    .iter()
                    .map(|broker| Candidate {
                        upstream: broker.name.clone(),
                        serving: broker.load().is_some(),
                    })
                    .collect(),
                goes_to: forecast.goes_to.map(|broker| broker.name.clone()),
                why: None,
            },
            Err(why) => {
                Self { pool: name, order: Vec::new(), goes_to: None, why: Some(why.to_string()) }
            }
        }
    }
}
