//! `GET /api/v1/route`: the broker that a client would get, and where it is connected.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use super::{
    route_by_rules::{Decision, RuleOutcome, outcome},
    rules::find_listener,
    session_view::session,
    sessions::with_client_id,
    upstreams::find_pool,
};
use crate::{
    admin::{
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
    rules::{ClientFacts, Verdict},
    session::SessionInfo,
    template::{ClientFields, GivenVariable, GivenVariables, Variable},
    upstream::Pool,
};

const PARAMETERS: [&str; 15] = [
    "client_id",
    "username",
    "source",
    "tls_cn",
    "tls_san_dns",
    "tls_san_uri",
    "sni",
    "path",
    "protocol_version",
    "clean_start",
    "has_password",
    "will",
    "var",
    "listener",
    "pool",
];

pub(in crate::admin) async fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse_with_lists(query, &PARAMETERS, &["var"])?;
    let variables = variables(&query)?;
    let client = facts(&query, &variables)?;
    let found = with_client_id(state, client.fields.client_id);
    let routes = match (query.text("listener"), query.text("pool")) {
        (Some(_), Some(_)) => {
            let error = "`listener` and `pool` exclude each other: the rules choose the pool";
            return Err(ErrorResponse::bad_request(error));
        }
        (Some(name), None) => {
            let listener = find_listener(state, name)?;
            by_rules(state, &outcome(&listener, &client), &client, &found.await?)
        }
        (None, pool) => {
            let pools = match pool {
                Some(name) => vec![find_pool(state, name)?],
                None => state.snapshot.load().pools.clone(),
            };
            by_pool(&pools, &client.fields, &found.await?)
        }
    };
    Ok(json(&routes))
}

/// The facts that the query gives as variables.
fn variables(query: &Query) -> Result<GivenVariables, ErrorResponse> {
    let named = [("tls_san_dns", Variable::TlsSanDns), ("tls_san_uri", Variable::TlsSanUri)];
    let named = named.into_iter().filter_map(|(name, variable)| {
        Some(Ok(GivenVariable { variable, value: query.text(name)?.into() }))
    });
    let given = query.texts("var").map(|text| {
        GivenVariable::parse(text)
            .map_err(|error| ErrorResponse::bad_request(format!("invalid `var` {text:?}: {error}")))
    });
    Ok(GivenVariables::new(named.chain(given).collect::<Result<_, _>>()?))
}

fn facts<'a>(
    query: &'a Query,
    variables: &'a GivenVariables,
) -> Result<ClientFacts<'a>, ErrorResponse> {
    let client_id = query.text("client_id").ok_or_else(|| {
        ErrorResponse::bad_request("missing `client_id`; it may be empty: `client_id=`")
    })?;
    let level: Option<u8> = query.parsed("protocol_version", "3, 4 and 5")?;
    if let Some(level) = level.filter(|level| !(3..=5).contains(level)) {
        let error = format!("invalid `protocol_version` {level}; allowed: 3, 4 and 5");
        return Err(ErrorResponse::bad_request(error));
    }
    let fields = variables.complete(ClientFields {
        client_id,
        username: query.text("username"),
        source_ip: query
            .parsed("source", "an IP address")?
            .or(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        tls_cn: query.text("tls_cn"),
        sni: query.text("sni"),
        protocol_version: level,
        ..ClientFields::default()
    });
    let flag = |name| query.parsed(name, "true and false");
    Ok(ClientFacts {
        fields,
        path: query.text("path"),
        clean_start: flag("clean_start")?,
        has_password: flag("has_password")?,
        will: flag("will")?,
    })
}

/// The route in each of the pools, whatever the rules of listeners say.
fn by_pool(pools: &[Arc<Pool>], client: &ClientFields<'_>, found: &[SessionInfo]) -> api::Routes {
    let pool = |pool: &Arc<Pool>| {
        let sessions = sessions_in(pool, found);
        // A client whose ID is rewritten goes where the new one belongs.
        let for_broker = sessions.first().and_then(|seen| seen.broker_client_id.as_deref());
        let client = ClientFields { client_id: for_broker.unwrap_or(client.client_id), ..*client };
        pool_route(pool, &client, &sessions)
    };
    let pools = pools.iter().map(pool).collect();
    routes(client.client_id, pools)
}

/// The route by the rules of a listener, and where the client is otherwise.
fn by_rules(
    state: &AdminState,
    outcome: &RuleOutcome,
    client: &ClientFacts<'_>,
    found: &[SessionInfo],
) -> api::Routes {
    let target = match &outcome.decision {
        Decision::Pool(pool) => Some(pool),
        Decision::Refuse(_) | Decision::Redirect(_) | Decision::CannotRewrite(_) => None,
    };
    let snapshot = state.snapshot.load();
    let pools = snapshot.pools.iter().filter_map(|pool| {
        let sessions = sessions_in(pool, found);
        if target.is_some_and(|target| Arc::ptr_eq(target, pool)) {
            return Some(pool_route(pool, &outcome.fields(client), &sessions));
        }
        (!sessions.is_empty()).then(|| api::PoolRoute {
            pool: pool.name.clone(),
            order: Vec::new(),
            goes_to: None,
            sessions: sessions.into_iter().cloned().map(session).collect(),
            why: Some("the rules of the listener choose otherwise".to_owned()),
        })
    });
    let routes = routes(client.fields.client_id, pools.collect());
    let verdict = |verdict: &Verdict| api::Verdict {
        rule: verdict.rule.clone(),
        holds: verdict.holds,
        why: verdict.why.clone(),
    };
    let mut routes = api::Routes {
        listener: Some(outcome.listener()),
        rules: outcome.verdicts.iter().map(verdict).collect(),
        rule: outcome.rule(),
        ..routes
    };
    match &outcome.decision {
        Decision::Pool(pool) => routes.pool = Some(pool.name.clone()),
        Decision::Refuse(refusal) => routes.refuse = Some(refusal.as_str().into()),
        Decision::Redirect(server) => routes.redirect = Some(server.clone()),
        Decision::CannotRewrite(why) => routes.why = Some(why.clone()),
    }
    routes
}

fn routes(client_id: &str, pools: Vec<api::PoolRoute>) -> api::Routes {
    api::Routes {
        client_id: client_id.to_owned(),
        listener: None,
        rules: Vec::new(),
        rule: None,
        pool: None,
        refuse: None,
        redirect: None,
        why: None,
        pools,
    }
}

fn sessions_in<'f>(pool: &Pool, found: &'f [SessionInfo]) -> Vec<&'f SessionInfo> {
    found.iter().filter(|seen| seen.pool == pool.name).collect()
}

fn pool_route(pool: &Pool, client: &ClientFields<'_>, sessions: &[&SessionInfo]) -> api::PoolRoute {
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
    let sessions = sessions.iter().copied().cloned().map(session).collect();
    api::PoolRoute { pool: pool.name.clone(), order, goes_to, sessions, why }
}
