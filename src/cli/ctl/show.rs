//! The API's responses as tables.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
};

use super::{
    table::{TextTable, counts, duration, or_dash, yes_no},
    upgrade,
};
use crate::{
    api::{
        Applied, BanPage, Banned, Duplicate, Duplicates, End, LastFileReload, LastReload, Listener,
        Log, Pool, PoolRoute, Pools, Quota, QuotaKey, Routes, Session, Sessions, Status, Upstream,
    },
    escape::{plain, plain_lines, quote, shortened},
};

pub(super) fn status(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    facts(status, out)?;
    let of_config = status.config.last_reload.iter().flat_map(|last| &last.faults);
    let of_files = status.config.last_file_reload.iter().flat_map(|last| &last.faults);
    for fault in of_config.chain(of_files) {
        writeln!(out, "  {}", plain(fault))?;
    }
    writeln!(out)?;
    listeners(&status.listeners, out)?;
    if !status.quotas.is_empty() {
        writeln!(out)?;
        quotas(&status.quotas, out)?;
    }
    if status.ends.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    ends(&status.ends, out)
}

fn facts(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let (config, descriptors) = (&status.config, &status.descriptors);
    let ready = match &status.not_ready {
        None => "ready".to_owned(),
        Some(why) => format!("not ready: {why}"),
    };
    let in_force =
        format!("{}, generation {}, of {}", config.file, config.generation, config.loaded_at);
    let last_reload = match &config.last_reload {
        None => "none".to_owned(),
        Some(LastReload { outcome, at, .. }) => format!("{outcome}, {at}"),
    };
    let last_file_reload = match &config.last_file_reload {
        None => "none".to_owned(),
        Some(LastFileReload { outcome, at, files, .. }) => {
            format!("{outcome}, {at}: {}", files.join(", "))
        }
    };
    let connections =
        format!("{} of {} at most", status.connections_open, descriptors.connections_possible);
    let facts = [
        ("version", status.version.to_string()),
        ("process", status.pid.to_string()),
        ("state", ready),
        ("up for", duration(status.uptime_s)),
        ("workers", status.workers.to_string()),
        ("configuration", in_force),
        ("last reload", last_reload),
        ("watched files", config.watched_files.to_string()),
        ("last file reload", last_file_reload),
        ("connections", connections),
        ("descriptors", format!("{} of {}", descriptors.used, descriptors.limit)),
        ("rejects", counts(&status.rejects)),
        ("log lines lost", status.access_log_dropped.to_string()),
    ];
    let facts = facts.into_iter().chain(upgrade::facts(status.last_upgrade.as_ref()));
    let rows = facts.map(|(name, text)| vec![name.to_owned(), text]);
    TextTable::new(["mqtt-lb", ""]).write(out, rows)
}

fn listeners(listeners: &[Listener], out: &mut dyn Write) -> io::Result<()> {
    let row = |listener: &Listener| {
        vec![
            listener.name.to_string(),
            listener.bind.clone(),
            listener.transports.join(", "),
            listener.pool.to_string(),
            listener.connections_active.to_string(),
            listener.connections_total.to_string(),
            counts(&listener.sessions_total),
        ]
    };
    let titles = ["LISTENER", "BIND", "TRANSPORT", "POOL", "OPEN", "TOTAL", "SESSIONS BY VERSION"];
    TextTable::new(titles).write(out, listeners.iter().map(row))
}

fn quotas(quotas: &[Quota], out: &mut dyn Write) -> io::Result<()> {
    let row = |quota: &Quota| {
        let fullest = quota
            .fullest
            .iter()
            .map(|QuotaKey { key, connections }| format!("{}: {connections}", quote(key)));
        let fullest = fullest.collect::<Vec<_>>().join(", ");
        let numbers = [quota.max_connections.to_string(), quota.keys.to_string()];
        [quota.name.to_string()].into_iter().chain(numbers).chain([fullest]).collect()
    };
    TextTable::new(["QUOTA", "MAX", "KEYS", "FULLEST"]).write(out, quotas.iter().map(row))
}

fn ends(ends: &[End], out: &mut dyn Write) -> io::Result<()> {
    let row = |end: &End| {
        vec![end.by.to_string(), end.phase.to_string(), end.cause.clone(), end.count.to_string()]
    };
    TextTable::new(["ENDED BY", "PHASE", "CAUSE", "COUNT"]).write(out, ends.iter().map(row))
}

pub(super) fn upstreams(Pools { pools }: &Pools, out: &mut dyn Write) -> io::Result<()> {
    let mut table = TextTable::new([
        "POOL", "UPSTREAM", "ADDRESS", "STATUS", "SERVING", "STATE", "WEIGHT", "SESSIONS",
        "CONNACKS",
    ]);
    let rows = pools
        .iter()
        .flat_map(|pool| pool.upstreams.iter().map(|upstream| upstream_row(pool, upstream)));
    table.write(out, rows)?;
    for pool in pools.iter().filter(|pool| pool.failing_open) {
        writeln!(out, "{}: so many brokers appear down that all are tried", plain(&pool.name))?;
    }
    for why in pools.iter().filter_map(|pool| pool.not_serving.as_deref()) {
        writeln!(out, "{}", plain(why))?;
    }
    Ok(())
}

fn upstream_row(pool: &Pool, upstream: &Upstream) -> Vec<String> {
    let resolved = match (&upstream.resolved, upstream.other_addresses.len()) {
        (Some(resolved), 0) => format!(" ({resolved})"),
        (Some(resolved), others) => format!(" ({resolved} and {others} more)"),
        (None, _) => String::new(),
    };
    vec![
        pool.name.to_string(),
        upstream.name.to_string(),
        upstream.address.clone() + &resolved,
        upstream.status.to_string(),
        yes_no(upstream.serving),
        upstream.state.as_str().to_owned(),
        weight(upstream),
        sessions_of(upstream),
        counts(&upstream.connacks),
    ]
}

pub(super) fn change(pool: &str, upstream: &Upstream, out: &mut dyn Write) -> io::Result<()> {
    let change = format!(
        "{pool}/{}: {}, weight {}, sessions {}",
        upstream.name,
        upstream.status,
        weight(upstream),
        sessions_of(upstream),
    );
    writeln!(out, "{}", plain(&change))
}

fn weight(upstream: &Upstream) -> String {
    match (upstream.weight, upstream.configured_weight) {
        (weight, configured) if weight == configured => weight.to_string(),
        (weight, configured) => format!("{weight} (not {configured})"),
    }
}

fn sessions_of(upstream: &Upstream) -> String {
    match upstream.max_connections {
        0 => upstream.sessions.to_string(),
        max => format!("{} of {max}", upstream.sessions),
    }
}

pub(super) fn session_table() -> TextTable {
    TextTable::new([
        "SESSION",
        "CLIENT ID",
        "USERNAME",
        "CLIENT",
        "LISTENER",
        "UPSTREAM",
        "VERSION",
        "FOR",
        "IN",
        "OUT",
    ])
}

pub(super) fn session_rows(page: &Sessions) -> impl Iterator<Item = Vec<String>> {
    page.sessions.iter().map(|session: &Session| {
        let client_id = match (&session.assigned_client_id, &session.broker_client_id) {
            (Some(assigned), _) => format!("{assigned} (assigned)"),
            (None, Some(broker)) => format!("{} (broker: {broker})", sent_id(session)),
            (None, None) => sent_id(session),
        };
        vec![
            session.id.clone(),
            client_id,
            or_dash(session.username.as_ref()),
            or_dash(session.client.as_ref()),
            session.listener.to_string(),
            format!("{}/{}", session.pool, session.upstream),
            or_dash(session.protocol_version.as_ref()),
            duration(session.duration_s),
            session.bytes_in.to_string(),
            session.bytes_out.to_string(),
        ]
    })
}

/// The ID that the client sent; the server name of a client whose TLS is passed through.
fn sent_id(session: &Session) -> String {
    match (&session.client_id, &session.sni) {
        (Some(client_id), _) => client_id.to_string(),
        (None, Some(sni)) => format!("(sni: {sni})"),
        (None, None) => or_dash(None::<&str>),
    }
}

pub(super) fn duplicates(answer: &Duplicates, out: &mut dyn Write) -> io::Result<()> {
    let row = |duplicate: &Duplicate| {
        vec![
            duplicate.client_id.to_string(),
            or_dash(duplicate.username.as_ref()),
            duplicate.pool.to_string(),
            duplicate.count.to_string(),
            duplicate.first.clone(),
            duplicate.last.clone(),
            joined(duplicate.addresses.iter()),
        ]
    };
    TextTable::new(["CLIENT ID", "USERNAME", "POOL", "COUNT", "FIRST", "LAST", "ADDRESSES"])
        .write(out, answer.duplicates.iter().map(row))?;
    match answer.evicted {
        0 => Ok(()),
        evicted => writeln!(out, "{evicted} more are no longer listed"),
    }
}

pub(super) fn banned(answer: &Banned, out: &mut dyn Write) -> io::Result<()> {
    for warning in &answer.warnings {
        writeln!(out, "warning: {}", plain(warning))?;
    }
    Ok(())
}

pub(super) fn ban_table() -> TextTable {
    TextTable::new(["KIND", "VALUE", "BY", "SINCE", "UNTIL", "REMAINING", "COMMENT"])
}

pub(super) fn ban_rows(page: &BanPage) -> impl Iterator<Item = Vec<String>> {
    page.bans.iter().map(|ban| {
        vec![
            ban.kind.to_string(),
            shortened(&ban.value).into_owned(),
            ban.reason.to_string(),
            ban.since.clone(),
            ban.until.clone(),
            duration(ban.remaining_s),
            or_dash(ban.comment.as_deref().map(shortened)),
        ]
    })
}

pub(super) fn route(answer: &Routes, out: &mut dyn Write) -> io::Result<()> {
    let row = |route: &PoolRoute| {
        let order = match &route.why {
            Some(why) => format!("({why})"),
            None => joined(route.order.iter().map(|candidate| {
                let name = &candidate.upstream;
                if candidate.serving { name.to_string() } else { format!("({name})") }
            })),
        };
        let current = match &*route.sessions {
            [] => "-".to_owned(),
            sessions => joined(sessions.iter().map(|session| &session.upstream)),
        };
        vec![route.pool.to_string(), or_dash(route.goes_to.as_ref()), current, order]
    };
    for verdict in &answer.rules {
        let holds = if verdict.holds { "holds" } else { "does not hold" };
        let line = format!("rule {} {holds}: {}", verdict.rule, verdict.why);
        writeln!(out, "{}", plain(&line))?;
    }
    let outcome = match (&answer.refuse, &answer.redirect, &answer.why) {
        (Some(refusal), _, _) => Some(format!("refused: {refusal}")),
        (_, Some(server), _) => Some(format!("sent to {server}")),
        (_, _, why) => why.as_ref().map(|why| format!("refused: {why}")),
    };
    if let Some(outcome) = outcome {
        writeln!(out, "{}", plain(&outcome))?;
    }
    if answer.pools.is_empty() {
        return Ok(());
    }
    TextTable::new(["POOL", "GOES TO", "IS ON", "ORDER"]).write(out, answer.pools.iter().map(row))
}

pub(super) fn reload(applied: &Applied, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "applied as generation {}", applied.generation)?;
    for change in &applied.changes {
        writeln!(out, "  {}", plain(change))?;
    }
    Ok(())
}

pub(super) fn log(log: &Log, out: &mut dyn Write) -> io::Result<()> {
    for line in &log.lines {
        let line = format!("{} {:>5} {}", line.time, line.level, line.message);
        writeln!(out, "{}", plain(&line))?;
    }
    Ok(())
}

/// Prints YAML unchanged, so that it can be read back, but without control characters on a
/// terminal.
pub(super) fn config(yaml: &String, out: &mut dyn Write) -> io::Result<()> {
    if io::stdout().is_terminal() {
        return writeln!(out, "{}", plain_lines(yaml));
    }
    out.write_all(yaml.as_bytes())
}

fn joined(words: impl Iterator<Item = impl Display>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
}
