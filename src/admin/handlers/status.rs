//! `GET /api/v1/status`: the proxy as a whole.

use std::{fs, path::PathBuf, process};

use rustix::process::{Resource, getrlimit};

use super::{health::not_ready, upgrade::last_upgrade};
use crate::{
    admin::{
        reload_channel::FinishedReload,
        request::Query,
        response::{ErrorResponse, HttpResponse, json},
        state::AdminState,
    },
    api,
    limits::QuotaUsage,
    listener,
    metrics::EndCount,
    timestamp::rfc3339,
};

pub(in crate::admin) fn get(
    state: &AdminState,
    query: Option<&str>,
) -> Result<HttpResponse, ErrorResponse> {
    Query::parse(query, &[])?;
    let snapshot = state.snapshot.load();
    let (started_at, since) = state.started;
    let not_ready = not_ready(state);
    let last = state.reloads.last();
    let end = |EndCount { by, phase, cause, count }| api::End {
        by: by.into(),
        phase: phase.into(),
        cause,
        count,
    };
    Ok(json(&api::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: process::id(),
        started_at: rfc3339(started_at),
        uptime_s: since.elapsed().as_secs_f64(),
        ready: not_ready.is_none(),
        not_ready,
        workers: state.workers,
        last_upgrade: state.upgrades.last().map(last_upgrade),
        config: api::ConfigInForce {
            file: state.config_file.display().to_string(),
            generation: snapshot.generation,
            loaded_at: rfc3339(snapshot.loaded_at),
            last_reload: last.config.map(last_reload),
            watched_files: if snapshot.config.watch { snapshot.config.files.len() } else { 0 },
            last_file_reload: last.files.map(last_file_reload),
        },
        descriptors: descriptors(state.limiter.limit()),
        connections_open: state.limiter.open(),
        listeners: snapshot.listeners.iter().map(|listener| listener_status(listener)).collect(),
        quotas: state.limiter.quotas.usage().into_iter().map(quota).collect(),
        ends: state.metrics.end_counts().into_iter().map(end).collect(),
        rejects: state.metrics.reject_counts(),
        access_log_dropped: state.metrics.access_logs().dropped.get(),
    }))
}

fn quota(QuotaUsage { name, max_connections, keys, fullest }: QuotaUsage) -> api::Quota {
    let fullest = fullest.into_iter().map(|(key, connections)| api::QuotaKey { key, connections });
    api::Quota { name, max_connections, keys, fullest: fullest.collect() }
}

fn last_reload(FinishedReload { at, outcome, faults }: FinishedReload) -> api::LastReload {
    api::LastReload { at: rfc3339(at), outcome: outcome.into(), faults }
}

fn last_file_reload((reload, files): (FinishedReload, Vec<PathBuf>)) -> api::LastFileReload {
    let FinishedReload { at, outcome, faults } = reload;
    let files = files.iter().map(|file| file.display().to_string()).collect();
    api::LastFileReload { at: rfc3339(at), outcome: outcome.into(), files, faults }
}

fn listener_status(listener: &listener::Listener) -> api::Listener {
    let settings = listener.settings();
    let metrics = &settings.metrics;
    api::Listener {
        name: settings.name.clone(),
        bind: listener.bind.to_string(),
        transport: settings.transport.as_str().into(),
        transports: settings.transports().map(|transport| transport.as_str().into()).collect(),
        pool: settings.pool.name.clone(),
        connections_active: metrics.connections_active.get().max(0) as u64,
        connections_total: metrics.connections_total.get(),
        sessions_total: metrics.session_counts().collect(),
    }
}

fn descriptors(connections_possible: u32) -> api::Descriptors {
    // Since Linux 6.2 the directory's size is the number of its entries; before, it is 0.
    let size = fs::metadata("/proc/self/fd").map_or(0, |directory| directory.len());
    let count = || fs::read_dir("/proc/self/fd").map_or(0, |directory| directory.count() as u64);
    let used = if size > 0 { size } else { count() };
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    api::Descriptors { used, limit, connections_possible }
}
