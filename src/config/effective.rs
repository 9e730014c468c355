//! The configuration in force as text: the file with every default filled in.

use std::sync::Arc;

use serde_yaml::Value;

use super::{
    at::At,
    raw::{self, CheckType, DEFAULT_PATH, Protocol},
    settings::TcpKeepalive,
    values::{HttpPath, Number, Time},
};

/// YAML that reads back as the same configuration. Files, secrets included, are in it by name, and
/// environment variables as they are written.
pub(super) fn effective(mut config: At<raw::Config>) -> Arc<str> {
    fill_in(&mut config);
    let value = serde_yaml::to_value(&config).map(without_nulls);
    value.and_then(|value| serde_yaml::to_string(&value)).unwrap_or_default().into()
}

/// The key that the claims of a rule are read by.
const CLAIMS: &str = "jwt.";

/// An absent key is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Mapping(entries) => {
            let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
            let entries = entries.flat_map(|(key, value)| match value {
                // The claims of a rule, whose keys belong to the section.
                Value::Mapping(claims) if key == CLAIMS => claims.into_iter().collect(),
                value => vec![(key, value)],
            });
            Value::Mapping(entries.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}

/// Writes out what the absence of a key means where other keys say it.
fn fill_in(config: &mut At<raw::Config>) {
    let Some(config) = &mut config.value else { return };
    if let Some(timeouts) = &mut config.timeouts.value
        && let Some(keepalive) = &mut timeouts.tcp_keepalive.value
        && let (None, Some(Time(idle))) = (&keepalive.interval, keepalive.idle.value)
    {
        let interval = TcpKeepalive::new(idle).interval;
        keepalive.interval = Some(At::default_of(Time(interval)));
    }
    let listeners = config.listeners.value.iter_mut().flatten();
    listeners.filter_map(|listener| listener.value.as_mut()).for_each(fill_in_websocket);
    let pools = config.pools.value.iter_mut().flatten().filter_map(|pool| pool.value.as_mut());
    for health in pools.filter_map(|pool| pool.health.value.as_mut()) {
        let Some(check) = health.active.as_mut().and_then(|check| check.value.as_mut()) else {
            continue;
        };
        let http = match check.kind.value {
            Some(CheckType::Http) => true,
            Some(CheckType::Mqtt) => false,
            _ => continue,
        };
        let code = At::default_of(Number(if http { 200 } else { 0 }));
        check.expect.get_or_insert_with(|| At::default_of(vec![code]));
        if http {
            let root = || At::default_of(HttpPath("/".into()));
            check.path.get_or_insert_with(root);
        }
    }
}

fn fill_in_websocket(listener: &mut raw::Listener) {
    let mut protocols = listener.protocols.iter().filter_map(|list| list.value.as_ref()).flatten();
    if protocols.any(|protocol| protocol.value == Some(Protocol::Websocket)) {
        listener.websocket.get_or_insert_with(raw::default_websocket);
    }
    let Some(websocket) = listener.websocket.as_mut().and_then(|at| at.value.as_mut()) else {
        return;
    };
    if websocket.paths.is_none() {
        let path = || At::default_of(HttpPath(DEFAULT_PATH.into()));
        websocket.path.get_or_insert_with(path);
    }
}
