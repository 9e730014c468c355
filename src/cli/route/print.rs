//! The brokers of each client ID, a line each.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use serde::Serialize;

use super::{
    client_ids::ClientIds,
    routes::{Destination, Routed, Routes},
};
use crate::{
    escape::{self, plain},
    rules::{Refusal, Verdict},
};

/// A client ID's brokers, in the order in which they would be tried.
#[derive(Serialize)]
struct RouteLine<'a> {
    client_id: &'a str,
    /// Absent without rules, like `rule` and `rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
    /// The rule that decides; absent if none holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    rules: &'a [Verdict],
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refuse: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<&'a str>,
    /// Absent if the choice does not depend on a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    brokers: Option<&'a [Arc<str>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Returns the number of lines skipped.
pub(super) fn print(mut routes: Routes<'_>, ids: &[String], json: bool) -> io::Result<u64> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let is_table = !json && io::stdout().is_terminal();
    let width = ids.iter().map(|id| plain(id).chars().count()).max().unwrap_or(0);
    let listener = routes.listener_with_rules().map(str::to_owned);
    let mut ids = ClientIds::of(ids);
    while let Some(id) = ids.next_id()? {
        let outcome = routes.route(&id, usize::MAX);
        if json {
            let line = line(&id, listener.as_deref(), &outcome);
            writeln!(out, "{}", escape::json(&line)?)?;
            continue;
        }
        let mut cells = vec![brokers(&outcome.destination)];
        cells.extend(listener.is_some().then(|| reasons(&outcome)));
        let (id, separator) = (plain(&id), if is_table { "  " } else { "\t" });
        let width = if is_table { width } else { 0 };
        write!(out, "{id:width$}")?;
        for cell in cells {
            write!(out, "{separator}{}", plain(&cell))?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(ids.skipped())
}

fn line<'a>(client_id: &'a str, listener: Option<&'a str>, routed: &'a Routed) -> RouteLine<'a> {
    let line = RouteLine {
        client_id,
        listener,
        rule: routed.rule(),
        rules: &routed.verdicts,
        pool: None,
        refuse: None,
        redirect: None,
        brokers: None,
        why: None,
    };
    match &routed.destination {
        Destination::Pool { name, brokers } => RouteLine {
            pool: Some(name),
            brokers: brokers.as_deref().ok(),
            why: brokers.as_deref().err().copied(),
            ..line
        },
        Destination::Refused(refusal) => RouteLine { refuse: Some(*refusal), ..line },
        Destination::Redirected(server) => RouteLine { redirect: Some(server), ..line },
        Destination::NotRewritten(why) => RouteLine { why: Some(why), ..line },
    }
}

fn brokers(destination: &Destination) -> String {
    match destination {
        Destination::Pool { brokers: Ok(brokers), .. } => brokers.join(" "),
        Destination::Pool { brokers: Err(why), .. } => format!("({why})"),
        Destination::Refused(refusal) => format!("(refused: {})", refusal.as_str()),
        Destination::Redirected(server) => format!("(to {server})"),
        Destination::NotRewritten(why) => format!("(refused: {why})"),
    }
}

/// `pool other by rule canary: share 12.01 of percent 25; not eu: sni is absent`.
fn reasons(routed: &Routed) -> String {
    let pool = match &routed.destination {
        Destination::Pool { name, .. } => format!("pool {name} "),
        Destination::Refused(_) | Destination::Redirected(_) | Destination::NotRewritten(_) => {
            String::new()
        }
    };
    let decides = routed.verdicts.iter().find(|verdict| verdict.holds);
    let by = decides.map_or("as no rule holds".to_owned(), |verdict| format!("by rule {verdict}"));
    let others = routed.verdicts.iter().filter(|verdict| !verdict.holds);
    others.fold(pool + &by, |text, verdict| format!("{text}; not {verdict}"))
}
