//! What the clients did, what the log says and what the metrics say is the same, one by one.

use std::{
    collections::{BTreeMap, HashSet},
    process::ExitStatus,
};

use serde_json::Value;

use crate::{
    api::{Api, Samples, label},
    harness::wait_for,
    world::{AtRest, Way, World, settle},
};

type Counts = BTreeMap<Vec<String>, u64>;

/// Memory of its own that the proxy may have at the end, in bytes: pages that storms have left.
const MOST_MEMORY: u64 = 64 << 20;

pub(crate) fn reconcile(world: &World, before: &AtRest) {
    let api = Api(world.proxy.admin());
    let opened: u64 = Way::ALL.iter().map(|way| world.opened(*way)).sum();
    wait_for("all connections to have ended", || {
        let samples = api.samples().ok()?;
        let ended = total(&samples, "session_ends_total", &[]) == opened;
        (ended && total(&samples, "connections_active", &[]) == 0).then_some(())
    });
    let samples = api.samples().unwrap();
    let connects = total(&samples, "sessions_total", &[]);
    settle(&world.blocking, (opened + connects) as usize);
    let lines = world.blocking.lines();
    let ends: Vec<&Value> = lines.iter().filter(|line| line["event"] != "connect").collect();

    let of_clients = Way::ALL.map(|way| (vec![way.name().to_owned()], world.opened(way))).into();
    assert_eq!(counts(&samples, "connections_total", &["listener"]), of_clients);
    assert_eq!(count(&ends, &["listener"]), of_clients);
    let sessions: HashSet<&str> = ends.iter().filter_map(|end| end["session"].as_str()).collect();
    assert_eq!(sessions.len() as u64, opened, "a connection with two ends");

    let as_logged = |event: &str, fields: &[&str]| {
        let of_event: Vec<_> = lines.iter().filter(|line| line["event"] == event).collect();
        count(&of_event, fields)
    };
    assert_eq!(
        counts(&samples, "sessions_total", &["listener", "version"]),
        as_logged("connect", &["listener", "protocol_version"])
    );
    assert_eq!(counts(&samples, "rejects_total", &["reason"]), as_logged("reject", &["end_cause"]));
    assert_eq!(counts(&samples, "probes_total", &["listener"]), as_logged("probe", &["listener"]));
    assert_eq!(
        counts(&samples, "session_ends_total", &["by", "phase", "cause"]),
        count(&ends, &["end_by", "end_phase", "end_cause"])
    );
    // Each session that began has ended, and none has ended that had not begun.
    let of = |event: &str| -> HashSet<&str> {
        let of_event = lines.iter().filter(|line| line["event"] == event);
        of_event.filter_map(|line| line["session"].as_str()).collect()
    };
    assert_eq!(of("connect"), of("disconnect"));

    let lost = total(&samples, "access_log_dropped_total", &[]);
    settle(&world.dropping, lines.len() - lost as usize);
    assert_eq!(world.dropping.count() as u64 + lost, lines.len() as u64);

    for gauge in ["upstream_sessions_active", "admission_waiting", "upstream_ports_active"] {
        assert_eq!(total(&samples, gauge, &[]), 0, "{gauge}");
    }
    let exits = wait_for("the processes before to end", || world.proxy.earlier_exits());
    assert!(exits.iter().all(ExitStatus::success), "{exits:?}");
    wait_for("the descriptors of before", || {
        (world.proxy.descriptors() <= before.descriptors + 8).then_some(())
    });
    let memory = world.proxy.memory();
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    let log = world.proxy.stderr();
    assert!(!log.iter().any(|line| line.contains("panick")), "a panic");
    wait_for("the proxy to be ready", || {
        world.proxy.get("/readyz").starts_with("HTTP/1.1 200").then_some(())
    });
    println!("{} processes", exits.len() + 1);
    println!("{opened} connections, {connects} sessions, {lost} lines lost, {memory} bytes");
    for (end, times) in count(&ends, &["event", "end_by", "end_phase", "end_cause"]) {
        println!("{times:8} {}", end.join(" "));
    }
}

/// Lines by what these fields say.
fn count(lines: &[&Value], fields: &[&str]) -> Counts {
    let mut counts = Counts::new();
    for line in lines {
        let text = |field: &&str| match &line[*field] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *counts.entry(fields.iter().map(text).collect()).or_default() += 1;
    }
    counts
}

/// Samples of a family by these labels; what has not happened is left out.
fn counts(samples: &Samples, family: &str, labels: &[&str]) -> Counts {
    let mut counts = Counts::new();
    let family = format!("mqtt_lb_{family}");
    for ((_, of), value) in samples.iter().filter(|((known, _), _)| *known == family) {
        let key = labels.iter().map(|name| label(of, name).unwrap_or_default().to_owned());
        *counts.entry(key.collect()).or_default() += *value as u64;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

fn total(samples: &Samples, family: &str, labels: &[&str]) -> u64 {
    counts(samples, family, labels).values().sum()
}
