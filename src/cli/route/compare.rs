//! How many clients another configuration would move.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    client_ids::ClientIds,
    routes::{Destination, Routes},
};
use crate::escape::{self, plain};

#[derive(Serialize)]
struct Comparison {
    ids: u64,
    moved: u64,
    /// The number of IDs, by old and then by new broker.
    moves: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Returns the number of lines skipped.
pub(super) fn compare(
    mut before: Routes<'_>,
    mut after: Routes<'_>,
    ids: &[String],
    json: bool,
) -> io::Result<u64> {
    let with_pool = before.only_pool().is_none() || before.only_pool() != after.only_pool();
    let mut moved = Comparison { ids: 0, moved: 0, moves: BTreeMap::new() };
    let mut ids = ClientIds::of(ids);
    while let Some(id) = ids.next_id()? {
        moved.ids += 1;
        let place = |routes: &mut Routes<'_>| place(&routes.route(&id, 1).destination, with_pool);
        let (from, to) = (place(&mut before), place(&mut after));
        if from != to {
            moved.moved += 1;
            *moved.moves.entry(from).or_default().entry(to).or_default() += 1;
        }
    }
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", escape::json(&moved)?)?;
        return Ok(ids.skipped());
    }
    let percent = 100.0 * moved.moved as f64 / moved.ids.max(1) as f64;
    writeln!(out, "{} of {} client IDs move ({percent:.2} %)", moved.moved, moved.ids)?;
    for (from, targets) in &moved.moves {
        for (to, count) in targets {
            writeln!(out, "{} -> {}: {count}", plain(from), plain(to))?;
        }
    }
    Ok(ids.skipped())
}

/// The first broker, or what becomes of the client instead.
fn place(destination: &Destination, with_pool: bool) -> String {
    let (pool, broker) = match destination {
        Destination::Pool { name, brokers } => match brokers.as_deref() {
            Ok([broker, ..]) => (name, &**broker),
            Ok([]) => (name, "(none)"),
            Err(_) => (name, "(no key)"),
        },
        Destination::Refused(refusal) => return format!("(refused: {})", refusal.as_str()),
        Destination::Redirected(server) => return format!("(to {server})"),
        Destination::NotRewritten(_) => return "(refused)".to_owned(),
    };
    if with_pool { format!("{pool}/{broker}") } else { broker.to_owned() }
}
