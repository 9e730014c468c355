//! `/api/v1/log`: the last lines of the program's log.

use serde::Serialize;

use super::{
    AdminState,
    answer::{Answer, Refusal, json},
    request::Query,
};
use crate::{program_log::LogLine, timestamp::rfc3339};

#[derive(Serialize)]
struct Log {
    lines: Vec<Line>,
    last: u64,
}

#[derive(Serialize)]
struct Line {
    seq: u64,
    time: String,
    level: &'static str,
    message: String,
}

pub(super) fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    let query = Query::parse(query, &["after"])?;
    let after = query.parsed("after", "the number of a line, from 0")?.unwrap_or(0);
    let (lines, last) = state.log.after(after);
    let line = |LogLine { seq, time, level, text }| Line {
        seq,
        time: rfc3339(time),
        level: level.as_str(),
        message: text,
    };
    Ok(json(&Log { lines: lines.into_iter().map(line).collect(), last }))
}
