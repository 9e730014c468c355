//! `GET /api/v1/duplicates`: the client IDs that several devices use.

use crate::{
    admin::{
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
    session::DuplicateClient,
    timestamp::rfc3339,
};

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let (listed, evicted) = state.sessions.duplicates();
    // A pool that a reload has removed is not listed once its sessions have ended.
    let pools: Vec<_> = state.snapshot.load().all_pools().map(|pool| pool.id()).collect();
    let listed = listed.into_iter().filter(|client| pools.contains(&client.pool_id));
    Ok(json(&api::Duplicates { duplicates: listed.map(duplicate).collect(), evicted }))
}

fn duplicate(client: DuplicateClient) -> api::Duplicate {
    api::Duplicate {
        pool: client.pool,
        client_id: client.client_id,
        username: client.username,
        count: client.count,
        first: rfc3339(client.first),
        last: rfc3339(client.last),
        addresses: client.addresses,
    }
}
