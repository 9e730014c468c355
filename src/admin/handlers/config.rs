//! `GET /api/v1/config`: the configuration in force, with every default filled in.

use crate::admin::{
    request::Query,
    response::{ErrorResponse, HttpResponse, yaml},
    state::AdminState,
};

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    Ok(yaml(state.snapshot.load().config.effective().to_owned()))
}
