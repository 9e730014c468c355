//! Warnings about limits that have no effect.

use super::{Config, Listener, Quota, USERNAME_QUOTA};
use crate::template::Variable;

/// Likely mistakes in `limits`, a sentence each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let bans = config
        .bans_without_rate
        .iter()
        .map(|key| format!("limits.{key} has ban_for and no rate, so it bans nothing: add a rate"));
    bans.chain(config.quotas.iter().filter_map(|quota| counts_nothing(config, quota))).collect()
}

/// A variable of the key has a value at no listener. Clients without one are not counted.
fn counts_nothing(config: &Config, quota: &Quota) -> Option<String> {
    let is_absent = |listener: &Listener, variable: &Variable| {
        listener.lacks(variable).is_some() || (listener.tls_passthrough && is_hidden(variable))
    };
    let listeners = || config.listeners.iter();
    let variables = quota.key.variables();
    let mut absent = variables.filter(|v| listeners().all(|listener| is_absent(listener, v)));
    let variable = absent.next()?;
    let remedy = match listeners().find_map(|listener| listener.lacks(variable)) {
        Some(missing) => format!("give a listener {}", missing.source()),
        None => "add a listener without tls: passthrough, which hides it".to_owned(),
    };
    let (quota, other) = match &*quota.name {
        USERNAME_QUOTA => (format!("limits.{USERNAME_QUOTA}"), "remove the limit"),
        name => (format!("quota {name}"), "choose another key"),
    };
    Some(format!(
        "{quota} counts no client, as ${{{variable}}} has a value at no listener: {remedy}, or {other}"
    ))
}

/// Whether a proxy that passes TLS through does not see the value.
fn is_hidden(variable: &Variable) -> bool {
    !matches!(variable, Variable::Sni | Variable::SourceIp | Variable::Listener)
}
