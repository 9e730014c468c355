//! Describes what a reload changes.

use std::{fmt::Display, sync::Arc};

use crate::{
    config::{Bind, Config, Listener},
    rules::{Action, Rule},
    upstream::MemberChanges,
};

/// The most names in a line.
const MAX_NAMES: usize = 20;

/// The changes that need a restart, and are refused.
pub(super) fn restart_required(before: &Config, after: &Config) -> Vec<String> {
    let needs_restart = |key: &str, before: &dyn Display, after: &dyn Display| {
        format!("{key} cannot change without a restart: from {before} to {after}")
    };
    let mut faults = Vec::new();
    let workers = [before, after].map(|config| config.runtime.workers);
    if workers[0] != workers[1] {
        faults.push(needs_restart("runtime.workers", &workers[0], &workers[1]));
    }
    let binds = [before, after].map(|config| {
        config.admin.as_ref().map_or_else(|| "off".to_owned(), |admin| admin.bind.to_string())
    });
    if binds[0] != binds[1] {
        faults.push(needs_restart("admin.bind", &binds[0], &binds[1]));
    }
    if before.log.format != after.log.format {
        let formats =
            [before, after].map(|config| format!("{:?}", config.log.format).to_lowercase());
        faults.push(needs_restart("log.format", &formats[0], &formats[1]));
    }
    faults
}

/// The changes, except those of pools and their brokers.
pub(super) fn changes_outside_pools(before: &Config, after: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    for listener in &after.listeners {
        let name = &listener.name;
        let Some(old) = before.listeners.iter().find(|old| old.name == *name) else {
            let is_it = |new: &Listener| std::ptr::eq(new, listener);
            if !before.listeners.iter().any(|old| renamed(old, after).is_some_and(is_it)) {
                changes.push(format!("listener {name}: added on {}", listener.bind));
            }
            continue;
        };
        if old.bind != listener.bind {
            changes.push(format!("listener {name}: moved to {}", listener.bind));
        }
        let pools = [&before.pools[old.pool].name, &after.pools[listener.pool].name];
        if pools[0] != pools[1] {
            changes.push(format!("listener {name}: now uses pool {}", pools[1]));
        }
        if old.tls.is_some() != listener.tls.is_some()
            || old.tls_passthrough != listener.tls_passthrough
            || (old.mqtt, &old.websocket) != (listener.mqtt, &listener.websocket)
            || old.proxy_protocol != listener.proxy_protocol
        {
            changes.push(format!("listener {name}: TLS, WebSocket or PROXY protocol changed"));
        }
        if old.access != listener.access {
            changes.push(format!("listener {name}: allow or deny changed"));
        }
        if !old.identity.is_same(&listener.identity) {
            changes.push(format!("listener {name}: client identity changed"));
        }
        if !same_rules((before, old), (after, listener)) {
            changes.push(format!("listener {name}: rules changed"));
        }
        if old.idle != listener.idle {
            changes.push(format!("listener {name}: timeouts changed"));
        }
    }
    for old in &before.listeners {
        if let Some(new) = renamed(old, after) {
            changes.push(format!("listener {}: renamed to {}", old.name, new.name));
        } else if !after.listeners.iter().any(|listener| listener.name == old.name) {
            changes.push(format!("listener {}: removed", old.name));
        }
    }
    let sections = [
        ("limits", before.limits != after.limits || before.quotas != after.quotas),
        ("timeouts", before.timeouts != after.timeouts),
        ("dns", before.dns != after.dns),
        ("drain", before.drain != after.drain),
        ("upgrade", before.upgrade != after.upgrade),
        ("access_log", before.access_log != after.access_log),
        ("log", before.log != after.log),
        ("admin", before.admin != after.admin),
    ];
    for (name, _) in sections.iter().filter(|(_, changed)| *changed) {
        changes.push(format!("{name}: changed"));
    }
    changes
}

/// Whether the clients of any listener may have to go to another pool.
pub(super) fn destinations_differ(before: &Config, after: &Config) -> bool {
    before.listeners.iter().any(|old| {
        successor(old, after).is_some_and(|new| {
            before.pools[old.pool].name != after.pools[new.pool].name
                || !same_rules((before, old), (after, new))
        })
    })
}

/// The listener that the sessions of an old one belong to: with the same bind, whatever its name, as
/// its sockets stay; otherwise with the same name.
fn successor<'a>(old: &Listener, after: &'a Config) -> Option<&'a Listener> {
    let has_fixed_port = !matches!(old.bind, Bind::Tcp(address) if address.port() == 0);
    let same_bind = after.listeners.iter().find(|new| has_fixed_port && new.bind == old.bind);
    same_bind.or_else(|| after.listeners.iter().find(|new| new.name == old.name))
}

/// The new name's listener, if the old name is gone.
fn renamed<'a>(old: &Listener, after: &'a Config) -> Option<&'a Listener> {
    successor(old, after).filter(|_| after.listeners.iter().all(|new| new.name != old.name))
}

/// Whether two listeners have the same rules, with their lists and the names of their pools.
fn same_rules((before, old): (&Config, &Listener), (after, new): (&Config, &Listener)) -> bool {
    let pool = |config: &Config, rule: &Rule| match rule.action {
        Action::Pool(index) => config.pools.get(index).map(|pool| pool.name.clone()),
        Action::Refuse(_) | Action::Redirect(_) => None,
    };
    let is_same = |(old, new): (&Rule, &Rule)| {
        let same_action = match (&old.action, &new.action) {
            (Action::Pool(_), Action::Pool(_)) => pool(before, old) == pool(after, new),
            (old, new) => old == new,
        };
        same_action && old.name == new.name && old.percent == new.percent && old.when == new.when
    };
    old.rules.len() == new.rules.len() && old.rules.iter().zip(&new.rules).all(is_same)
}

/// The changes in a pool.
pub(super) fn pool_changes(name: &str, settings: bool, changes: &MemberChanges) -> Vec<String> {
    let MemberChanges { added, removed, changed } = changes;
    let words = [("added", added), ("removed", removed), ("changed", changed)];
    let words = words.into_iter().filter(|(_, names)| !names.is_empty());
    let mut lines: Vec<_> =
        words.map(|(word, names)| format!("pool {name}: {} {word}", list_names(names))).collect();
    if settings {
        lines.push(format!("pool {name}: settings changed"));
    }
    lines
}

/// A list of names that is short enough to read.
fn list_names(names: &[Arc<str>]) -> String {
    let text = names.iter().take(MAX_NAMES).map(|name| &**name).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
