//! The listener or the pool that `mqtt-lb route` is about.

use crate::config::{Config, Listener};

/// As indices into the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteTarget {
    Listener(usize),
    /// A pool, whatever rules say.
    Pool(usize),
}

/// The listener or the pool of that name; without names, the only one.
pub(super) fn find(
    config: &Config,
    listener: Option<&str>,
    pool: Option<&str>,
) -> Result<RouteTarget, String> {
    let listeners = &config.listeners;
    let pools: Vec<_> = config.pools.iter().map(|pool| &*pool.name).collect();
    if let Some(name) = pool {
        let at = pools.iter().position(|known| *known == name);
        let unknown = || format!("no such pool; the configuration has {}", pools.join(", "));
        return at.map(RouteTarget::Pool).ok_or_else(unknown);
    }
    let names = || listeners.iter().map(|listener| &*listener.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = listener {
        let at = listeners.iter().position(|known| *known.name == *name);
        let unknown = || format!("no listener {name}; the configuration has {}", names());
        return at.map(RouteTarget::Listener).ok_or_else(unknown);
    }
    if listeners.len() == 1 {
        return Ok(RouteTarget::Listener(0));
    }
    let is_plain = |listener: &Listener| listener.rules.is_empty();
    if pools.len() == 1 && listeners.iter().all(is_plain) {
        return Ok(RouteTarget::Pool(0));
    }
    Err(format!(
        "the configuration has several listeners: add --listener, one of {}, or --pool, one of {}",
        names(),
        pools.join(", ")
    ))
}
