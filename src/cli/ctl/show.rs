//! What the API says, for people.

use std::io::{self, Write};

use serde_json::Value;

use super::table::{Table, cell, counts, span};
use crate::escape::plain;

pub(super) fn status(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let config = &status["config"];
    let ready = match status["not_ready"].as_str() {
        None => "ready",
        Some(why) => &format!("not ready: {why}"),
    };
    let uptime = span(status["uptime_s"].as_f64().unwrap_or_default());
    let descriptors = &status["descriptors"];
    let mut facts = Table::new(["mqtt-lb", ""]);
    let fact = |name: &str, text: String| vec![name.to_owned(), text];
    facts.write(
        out,
        [
            fact("version", cell(&status["version"])),
            fact("state", ready.to_owned()),
            fact("up for", uptime),
            fact("workers", cell(&status["workers"])),
            fact(
                "configuration",
                format!(
                    "{}, generation {}, of {}",
                    cell(&config["file"]),
                    cell(&config["generation"]),
                    cell(&config["loaded_at"]),
                ),
            ),
            fact("last reload", last_reload(&config["last_reload"])),
            fact(
                "connections",
                format!(
                    "{} of {} at most",
                    cell(&status["connections_open"]),
                    cell(&descriptors["connections_possible"]),
                ),
            ),
            fact(
                "descriptors",
                format!("{} of {}", cell(&descriptors["used"]), cell(&descriptors["limit"])),
            ),
            fact("rejects", counts(&status["rejects"])),
            fact("log lines lost", cell(&status["access_log_dropped"])),
        ],
    )?;
    for fault in config["last_reload"]["faults"].as_array().into_iter().flatten() {
        writeln!(out, "  {}", plain(&cell(fault)))?;
    }
    writeln!(out)?;
    let mut listeners = Table::new([
        "LISTENER",
        "BIND",
        "TRANSPORT",
        "POOL",
        "OPEN",
        "TOTAL",
        "SESSIONS BY VERSION",
    ]);
    let listener = |one: &Value| {
        let columns =
            ["name", "bind", "transport", "pool", "connections_active", "connections_total"];
        let mut row: Vec<_> = columns.map(|column| cell(&one[column])).into();
        row.push(counts(&one["sessions_total"]));
        row
    };
    listeners.write(out, list(&status["listeners"]).map(listener))?;
    if list(&status["ends"]).next().is_none() {
        return Ok(());
    }
    writeln!(out)?;
    let end =
        |one: &Value| ["by", "phase", "cause", "count"].map(|column| cell(&one[column])).into();
    Table::new(["ENDED BY", "PHASE", "CAUSE", "COUNT"]).write(out, list(&status["ends"]).map(end))
}

fn last_reload(last: &Value) -> String {
    match last["outcome"].as_str() {
        None => "none".to_owned(),
        Some(outcome) => format!("{outcome}, {}", cell(&last["at"])),
    }
}

pub(super) fn upstreams(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        "POOL", "UPSTREAM", "ADDRESS", "STATUS", "SERVING", "STATE", "WEIGHT", "SESSIONS",
        "CONNACKS",
    ]);
    let rows = list(&answer["pools"]).flat_map(|pool| {
        list(&pool["upstreams"]).map(|upstream| {
            let others = list(&upstream["other_addresses"]).count();
            let resolved = match (upstream["resolved"].as_str(), others) {
                (Some(resolved), 0) => format!(" ({resolved})"),
                (Some(resolved), _) => format!(" ({resolved} and {others} more)"),
                (None, _) => String::new(),
            };
            vec![
                cell(&pool["name"]),
                cell(&upstream["name"]),
                cell(&upstream["address"]) + &resolved,
                cell(&upstream["status"]),
                cell(&upstream["serving"]),
                cell(&upstream["state"]),
                weight(upstream),
                sessions_of(upstream),
                counts(&upstream["connacks"]),
            ]
        })
    });
    table.write(out, rows)?;
    for pool in list(&answer["pools"]).filter(|pool| pool["failing_open"] == true) {
        let name = cell(&pool["name"]);
        writeln!(out, "{}: so many brokers look down that all are tried", plain(&name))?;
    }
    for why in list(&answer["pools"]).filter_map(|pool| pool["not_serving"].as_str()) {
        writeln!(out, "{}", plain(why))?;
    }
    Ok(())
}

pub(super) fn change(pool: &str, upstream: &Value, out: &mut dyn Write) -> io::Result<()> {
    let change = format!(
        "{pool}/{}: {}, weight {}, sessions {}",
        cell(&upstream["name"]),
        cell(&upstream["status"]),
        weight(upstream),
        sessions_of(upstream),
    );
    writeln!(out, "{}", plain(&change))
}

fn weight(upstream: &Value) -> String {
    let (weight, configured) = (&upstream["weight"], &upstream["configured_weight"]);
    if weight == configured { cell(weight) } else { format!("{weight} (not {configured})") }
}

fn sessions_of(upstream: &Value) -> String {
    match upstream["max_connections"].as_u64() {
        None | Some(0) => cell(&upstream["sessions"]),
        Some(most) => format!("{} of {most}", cell(&upstream["sessions"])),
    }
}

pub(super) fn sessions() -> Table {
    Table::new([
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

pub(super) fn session_rows(page: &Value) -> impl Iterator<Item = Vec<String>> {
    list(&page["sessions"]).map(|one| {
        let client_id = match one["assigned_client_id"].as_str() {
            Some(assigned) => format!("{assigned} (assigned)"),
            None => cell(&one["client_id"]),
        };
        vec![
            cell(&one["id"]),
            client_id,
            cell(&one["username"]),
            cell(&one["client"]),
            cell(&one["listener"]),
            format!("{}/{}", cell(&one["pool"]), cell(&one["upstream"])),
            cell(&one["protocol_version"]),
            span(one["duration_s"].as_f64().unwrap_or_default()),
            cell(&one["bytes_in"]),
            cell(&one["bytes_out"]),
        ]
    })
}

pub(super) fn route(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["POOL", "GOES TO", "IS ON", "ORDER"]);
    let rows = list(&answer["pools"]).map(|pool| {
        let candidate = |one: &Value| {
            let name = cell(&one["upstream"]);
            if one["serving"] == true { name } else { format!("({name})") }
        };
        let order: Vec<_> = list(&pool["order"]).map(candidate).collect();
        let here: Vec<_> = list(&pool["sessions"]).map(|one| cell(&one["upstream"])).collect();
        let order = match pool["why"].as_str() {
            Some(why) => format!("({why})"),
            None => order.join(" "),
        };
        let here = if here.is_empty() { "-".to_owned() } else { here.join(" ") };
        vec![cell(&pool["pool"]), cell(&pool["goes_to"]), here, order]
    });
    table.write(out, rows)
}

pub(super) fn reload(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "applied as generation {}", plain(&cell(&answer["generation"])))?;
    for change in list(&answer["changes"]) {
        writeln!(out, "  {}", plain(&cell(change)))?;
    }
    Ok(())
}

pub(super) fn log(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    for line in list(&answer["lines"]) {
        let (time, level) = (cell(&line["time"]), cell(&line["level"]));
        let line = format!("{time} {level:>5} {}", cell(&line["message"]));
        writeln!(out, "{}", plain(&line))?;
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
