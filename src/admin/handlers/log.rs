//! `GET /api/v1/log`: the last lines of the program log.

use crate::{
    admin::{
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
    program_log::LogLine,
    timestamp::rfc3339,
};

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    let query = Query::parse(query, &["after"])?;
    let after = query.parsed("after", "a line number, from 0")?.unwrap_or(0);
    let (lines, last) = state.log.after(after);
    let line = |LogLine { seq, time, level, text }| api::LogLine {
        seq,
        time: rfc3339(time),
        level: level.as_str().into(),
        message: text,
    };
    Ok(json(&api::Log { lines: lines.into_iter().map(line).collect(), last }))
}
