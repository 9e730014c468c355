//! `/api/v1/log`: the last lines of the program's log.

use super::{
    AdminState,
    answer::{Answer, Refusal, json},
    request::Query,
};
use crate::{
    api,
    observe::{LogLine, rfc3339},
};

pub(super) fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    let query = Query::parse(query, &["after"])?;
    let after = query.parsed("after", "the number of a line, from 0")?.unwrap_or(0);
    let (lines, last) = state.log.after(after);
    let line = |LogLine { seq, time, level, text }| api::LogLine {
        seq,
        time: rfc3339(time),
        level: level.as_str().into(),
        message: text,
    };
    Ok(json(&api::Log { lines: lines.into_iter().map(line).collect(), last }))
}
