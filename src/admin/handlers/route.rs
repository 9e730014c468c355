//! `GET /api/v1/route`: the broker that a client would get, and where it is connected.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use super::{session_view::session, sessions::with_client_id, upstreams::find_pool};
use crate::{
    admin::{
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
    template::ClientFields,
    upstream::Pool,
};

pub(in crate::admin) async fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse(query, &["client_id", "username", "source", "tls_cn", "sni", "pool"])?;
    let client_id = query.text("client_id").ok_or_else(|| {
        ErrorResponse::bad_request("missing `client_id`; it may be empty: `client_id=`")
    })?;
    let client = ClientFields {
        client_id,
        username: query.text("username"),
        source_ip: query
            .parsed("source", "an IP address")?
            .or(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        tls_cn: query.text("tls_cn"),
        sni: query.text("sni"),
        ..ClientFields::default()
    };
    let pools = match query.text("pool") {
        Some(name) => vec![find_pool(state, name)?],
        None => state.snapshot.load().pools.clone(),
    };
    let found = with_client_id(state, client_id).await?;
    let pool = |pool: &Arc<Pool>| {
        let sessions: Vec<_> = found.iter().filter(|seen| seen.pool == pool.name).collect();
        // A client whose ID is rewritten goes where the new one belongs.
        let for_broker = sessions.first().and_then(|seen| seen.broker_client_id.as_deref());
        let client = ClientFields { client_id: for_broker.unwrap_or(client_id), ..client };
        pool_route(pool, &client, sessions.into_iter().cloned().map(session).collect())
    };
    let pools = pools.iter().map(pool).collect();
    Ok(json(&api::Routes { client_id: client_id.to_owned(), pools }))
}

fn pool_route(
    pool: &Pool,
    client: &ClientFields<'_>,
    sessions: Vec<api::Session>,
) -> api::PoolRoute {
    let forecast = pool.forecast(client, Instant::now());
    let (order, goes_to, why) = match forecast {
        Ok(forecast) => {
            let order = forecast.order.iter().map(|broker| api::Candidate {
                upstream: broker.name.clone(),
                serving: broker.load().is_some(),
            });
            (order.collect(), forecast.goes_to.map(|broker| broker.name.clone()), None)
        }
        Err(why) => (Vec::new(), None, Some(why.to_string())),
    };
    api::PoolRoute { pool: pool.name.clone(), order, goes_to, sessions, why }
}
