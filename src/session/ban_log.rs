//! The access log's lines about bans.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::{context::WorkerContext, record::Record};
use crate::{
    access_log::{BanFields, Entry},
    labels::Event,
    limits::{Ban, wall_time},
    timestamp::rfc3339,
};

/// Lines about bans by the operator that are written in one turn: some 100 µs of work.
const LINES_PER_TURN: usize = 64;

/// Writes the line about a ban that a connection has caused. It does not wait for room in the log: a
/// connection causes one ban at most, and connections are not accepted while the log is full.
pub(crate) fn log_ban(record: &Record, ban: &Ban) {
    let (until, detail) = texts(ban);
    record.log_ban(fields(ban, &until), &detail);
}

/// Writes the lines about bans by the operator, as the log has room.
pub(crate) fn log_operator_bans(context: &Rc<WorkerContext>, bans: Vec<Ban>) {
    let context = context.clone();
    spawn_local(async move {
        for (written, ban) in bans.into_iter().enumerate() {
            if !context.log().wants(Event::Ban) {
                return;
            }
            if written % LINES_PER_TURN == 0 {
                context.reactor.turn.walks.turn().await;
            }
            context.log().wait_for_room().await;
            let (until, detail) = texts(&ban);
            let mut entry = Entry::of_proxy(context.reactor.wall_clock(), Event::Ban);
            entry.ban = Some(fields(&ban, &until));
            entry.detail = Some(&detail);
            context.log().write(&entry);
        }
    });
}

fn fields<'a>(ban: &'a Ban, until: &'a str) -> BanFields<'a> {
    let (kind, reason) = (ban.target.kind(), ban.reason);
    BanFields { kind, value: ban.target.value(), until, reason }
}

/// The end of the ban, and a sentence about it, which the text format has.
fn texts(ban: &Ban) -> (String, String) {
    let until = rfc3339(wall_time(ban.until));
    let (kind, value) = (ban.target.kind().as_str(), ban.target.value());
    let reason = ban.reason.as_str();
    let comment = ban.comment.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    (until.clone(), format!("{kind} {value} banned until {until} by {reason}{comment}"))
}
