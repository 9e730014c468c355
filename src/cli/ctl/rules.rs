//! The rules of the listeners.

use std::io::{self, Write};

use super::table::{TextTable, counts};
use crate::{
    api::{ListenerRules, Rule, Rules, Traffic},
    escape::plain,
};

/// Removes all listeners but this one.
pub(super) fn keep_listener(rules: &mut Rules, name: &str) -> Result<(), String> {
    let known = names(&rules.listeners);
    rules.listeners.retain(|listener| *listener.listener == *name);
    match rules.listeners.len() {
        0 => Err(format!("no listener {name}; the configuration has {known}")),
        _ => Ok(()),
    }
}

/// The rule of that name, and its listener.
pub(super) fn find<'a>(
    rules: &'a Rules,
    name: &str,
    listener: Option<&str>,
) -> Result<(&'a ListenerRules, &'a Rule), String> {
    let all = || {
        let of_listener = |of: &'a ListenerRules| of.rules.iter().map(move |rule| (of, rule));
        let wanted = |of: &&ListenerRules| listener.is_none_or(|name| *of.listener == *name);
        rules.listeners.iter().filter(wanted).flat_map(of_listener)
    };
    if let Some(name) = listener
        && !rules.listeners.iter().any(|known| *known.listener == *name)
    {
        let known = names(&rules.listeners);
        return Err(format!("no listener {name}; the configuration has {known}"));
    }
    let found: Vec<_> = all().filter(|(_, rule)| *rule.name == *name).collect();
    match &*found {
        [one] => Ok(*one),
        [] => {
            let known: Vec<_> = all().map(|(_, rule)| &*rule.name).collect();
            let known = if known.is_empty() { "no rules".to_owned() } else { known.join(", ") };
            Err(match listener {
                Some(listener) => format!("no rule {name} in listener {listener}; it has {known}"),
                None => format!("no rule {name}; the configuration has {known}"),
            })
        }
        several => {
            let known = names(several.iter().map(|(listener, _)| *listener));
            Err(format!("several listeners have a rule {name}: add --listener, one of {known}"))
        }
    }
}

fn names<'a>(listeners: impl IntoIterator<Item = &'a ListenerRules>) -> String {
    let names: Vec<_> = listeners.into_iter().map(|listener| &*listener.listener).collect();
    names.join(", ")
}

/// Each rule, and below the rules of a listener its pool for all other clients.
pub(super) fn show(rules: &Rules, out: &mut dyn Write) -> io::Result<()> {
    let mut table = TextTable::new([
        "LISTENER", "RULE", "TO", "PERCENT", "HITS", "SESSIONS", "CONNECTS", "REFUSED", "FAILED",
        "CONNACKS",
    ]);
    let rows = rules.listeners.iter().flat_map(|listener| {
        let rules = listener.rules.iter().map(|rule| {
            let target = match &*rule.action {
                "pool" => rule.target.to_string(),
                action => format!("{action} {}", rule.target),
            };
            let row = [
                listener.listener.to_string(),
                rule.name.to_string(),
                target,
                percent(rule),
                rule.hits.to_string(),
            ];
            row.into_iter().chain(traffic(rule.traffic.as_ref())).collect()
        });
        let name = listener.listener.to_string();
        let all_others = [name, dash(), listener.default_pool.to_string(), dash(), dash()];
        let all_others = all_others.into_iter().chain(traffic(Some(&listener.traffic)));
        rules.chain([all_others.collect()])
    });
    table.write(out, rows)
}

pub(super) fn show_change(
    listener: &str,
    before: &Rule,
    now: &Rule,
    out: &mut dyn Write,
) -> io::Result<()> {
    let source = if now.set_by_operator { "" } else { ", as configured" };
    let change = format!(
        "rule {} of listener {listener}: {} % -> {} %{source}",
        now.name, before.percent, now.percent
    );
    writeln!(out, "{}", plain(&change))?;
    match now.share_warning() {
        Some(warning) => writeln!(out, "warning: {}", plain(&warning)),
        None => Ok(()),
    }
}

fn percent(rule: &Rule) -> String {
    let (share, configured) = (rule.percent.to_string(), rule.configured_percent.to_string());
    if share == configured { share } else { format!("{share} (not {configured})") }
}

/// The cells of a pool.
fn traffic(traffic: Option<&Traffic>) -> [String; 5] {
    let Some(traffic) = traffic else { return [(); 5].map(|()| dash()) };
    let share = |count: u64| match traffic.connects {
        0 => dash(),
        connects => format!("{:.2} %", 100.0 * count as f64 / connects as f64),
    };
    [
        traffic.sessions.to_string(),
        traffic.connects.to_string(),
        share(traffic.refused),
        share(traffic.failed),
        counts(&traffic.connacks),
    ]
}

fn dash() -> String {
    "-".to_owned()
}
