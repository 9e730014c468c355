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
    session_view::Session,
    sessions::with_client_id,
    upstreams::find_pool,
};
use crate::{balance::ClientFields, upstream::Pool};

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
    /// Where the client is now.
    sessions: Vec<Session>,
    /// Why there is no order.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct Candidate {
    upstream: Arc<str>,
    serving: bool,
}

pub(super) async fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    let query = Query::parse(query, &["client_id", "username", "source", "tls_cn", "sni", "pool"])?;
    let client_id = query.text("client_id").ok_or_else(|| {
        Refusal::bad_request("`client_id` is missing; it may be empty: `client_id=`")
    })?;
    let client = ClientFields {
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
    let found = with_client_id(state, client_id).await?;
    let pool = |pool: &Arc<Pool>| {
        let here = found.iter().filter(|seen| seen.pool == pool.name).cloned();
        PoolRoute::new(pool, &client, here.map(Session::from).collect())
    };
    let pools = pools.iter().map(pool).collect();
    Ok(json(&Routes { client_id, pools }))
}

impl PoolRoute {
    fn new(pool: &Pool, client: &ClientFields<'_>, sessions: Vec<Session>) -> Self {
        let name = pool.name.clone();
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
                sessions,
                why: None,
            },
            Err(why) => {
                let why = Some(why.to_string());
                Self { pool: name, order: Vec::new(), goes_to: None, sessions, why }
            }
        }
    }
}
