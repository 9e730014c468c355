//! The outcome of an upgrade, and the process before it, for people.

use std::io::{self, Write};

use super::table::counts;
use crate::{
    api::{LastUpgrade, PreviousProcess, Upgraded},
    escape::plain,
};

/// The outcome of `ctl upgrade`.
pub(super) fn show(upgraded: &Upgraded, out: &mut dyn Write) -> io::Result<()> {
    let Upgraded { pid, version, .. } = upgraded;
    let text = format!("process {pid}, version {version}, has taken over and accepts");
    writeln!(out, "{}", plain(&text))
}

/// The last upgrade and the process before it, for `ctl status`: names and texts.
pub(super) fn facts(last: Option<&LastUpgrade>) -> Vec<(&'static str, String)> {
    let Some(LastUpgrade { at, outcome, error, previous }) = last else {
        return vec![("last upgrade", "none".to_owned())];
    };
    let why = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let mut facts = vec![("last upgrade", format!("{outcome}, {at}{why}"))];
    if let Some(PreviousProcess { pid, version, state, moved, remaining, stayed }) = previous {
        let left = match &**state {
            "detached" => "unknown, as the hand-over has broken off".to_owned(),
            _ => remaining.to_string(),
        };
        let sessions = format!("sessions moved: {moved}, connections left: {left}");
        let process = format!("{pid}, version {version}, {state}; {sessions}");
        facts.push(("previous process", process));
        if !stayed.is_empty() {
            facts.push(("stayed", counts(stayed)));
        }
    }
    facts
}
