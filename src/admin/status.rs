//! `/api/v1/status`: the proxy as a whole.

use std::{borrow::Cow, collections::BTreeMap, fs, sync::Arc};

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{
    AdminState, LastReload,
    answer::{Answer, Refusal, json},
    health::not_ready,
    request::Query,
};
use crate::{
    listener,
    metrics::{Counts, EndCount},
    timestamp::rfc3339,
};

#[derive(Serialize)]
struct Status {
    version: &'static str,
    started_at: String,
    uptime_s: f64,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready: Option<Cow<'static, str>>,
    workers: usize,
    config: Config,
    descriptors: Descriptors,
    connections_open: u32,
    listeners: Vec<Listener>,
    ends: Vec<End>,
    rejects: Counts,
    access_log_dropped: u64,
}

#[derive(Serialize)]
struct Config {
    file: String,
    generation: u64,
    loaded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reload: Option<LastReload>,
}

#[derive(Serialize)]
struct Descriptors {
    used: u64,
    limit: u64,
    connections_possible: u32,
}

#[derive(Serialize)]
struct Listener {
    name: Arc<str>,
    bind: String,
    transport: &'static str,
    pool: Arc<str>,
    connections_active: u64,
    connections_total: u64,
    sessions_total: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct End {
    by: String,
    phase: String,
    cause: String,
    count: u64,
}

pub(super) fn get(state: &AdminState, query: Option<&str>) -> Result<Answer, Refusal> {
    Query::parse(query, &[])?;
    let snapshot = state.snapshot.load();
    let (started_at, since) = state.started;
    let not_ready = not_ready(state);
    let end = |EndCount { by, phase, cause, count }| End { by, phase, cause, count };
    Ok(json(&Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: rfc3339(started_at),
        uptime_s: since.elapsed().as_secs_f64(),
        ready: not_ready.is_none(),
        not_ready,
        workers: state.workers,
        config: Config {
            file: state.config_file.display().to_string(),
            generation: snapshot.generation,
            loaded_at: rfc3339(snapshot.loaded_at),
            last_reload: state.reloads.last(),
        },
        descriptors: descriptors(state.limiter.limit()),
        connections_open: state.limiter.open(),
        listeners: snapshot.listeners.iter().map(|listener| Listener::of(listener)).collect(),
        ends: state.metrics.ends().into_iter().map(end).collect(),
        rejects: state.metrics.reject_counts(),
        access_log_dropped: state.metrics.access_logs().dropped.get(),
    }))
}

impl Listener {
    fn of(listener: &listener::Listener) -> Self {
        let settings = listener.settings();
        let metrics = &settings.metrics;
        Self {
            name: settings.name.clone(),
            bind: listener.bind.to_string(),
            transport: settings.transport.as_str(),
            pool: settings.pool.name.clone(),
            connections_active: metrics.connections_active.get().max(0) as u64,
            connections_total: metrics.connections_total.get(),
            sessions_total: metrics.session_counts().into_iter().collect(),
        }
    }
}

fn descriptors(connections_possible: u32) -> Descriptors {
    // The folder's size is how many there are, since Linux 6.2; before it is 0.
    let size = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    let count = || fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count() as u64);
    let used = if size > 0 { size } else { count() };
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Descriptors { used, limit, connections_possible }
}
