//! The configuration file of a cell, as operations change it.

use std::{collections::BTreeMap, fmt::Write};

/// The pool that things happen to.
pub(crate) const POOL: &str = "subject";
/// Another one, which is always there.
pub(crate) const OTHER: &str = "other";
/// The listener of the clients.
pub(crate) const LISTENER: &str = "mqtt";

#[derive(Clone)]
pub(crate) struct File {
    pub(crate) bind: String,
    /// Whether there are the clients' listeners at all.
    pub(crate) listens: bool,
    /// Keys of all listeners of clients about who these are, each after a comma.
    pub(crate) identity: String,
    /// Listeners other than `mqtt`, by their keys but for bind and pool.
    pub(crate) more_listeners: Vec<String>,
    /// The pool `subject`; without it the listener's clients go to `other`.
    pub(crate) pool: Option<PoolKeys>,
    pub(crate) other: String,
    /// Access logs other than `access.log`.
    pub(crate) more_logs: Option<String>,
    /// Top-level sections, by their names.
    pub(crate) top: BTreeMap<&'static str, String>,
}

/// The pool's keys, by their names. `active` and `passive` are those of `health`.
#[derive(Clone)]
pub(crate) struct PoolKeys {
    pub(crate) keys: BTreeMap<&'static str, String>,
    pub(crate) active: Option<String>,
    pub(crate) passive: String,
    pub(crate) fail_open_percent: u32,
    pub(crate) brokers: Vec<Upstream>,
}

#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) weight: u32,
}

/// Checks of which no broker that listens dies.
pub(crate) const CHECKS: &str = "{ type: tcp, interval: 100ms }";

impl File {
    /// `b1`, `b2` and so on at these addresses; checks, ejection and admission are all on.
    pub(crate) fn new(brokers: &[String], other: &str) -> Self {
        let names = ["b1", "b2", "b3"].into_iter();
        let upstream =
            |(name, address): (_, &String)| Upstream { name, address: address.clone(), weight: 1 };
        let keys = [
            ("connect_timeout", "1s"),
            ("connack_timeout", "60s"),
            ("on_down", "keep"),
            ("admission", "{ rate: 1000, burst: 1000, max_wait: 60s }"),
        ];
        let top = [
            ("runtime", "{ workers: 2 }"),
            ("timeouts", "{ connect_packet: 60s }"),
            ("drain", "{ timeout: 8s }"),
            ("log", "{ level: info }"),
            ("admin", "{ bind: \"127.0.0.1:0\" }"),
        ];
        Self {
            bind: "127.0.0.1:0".to_owned(),
            listens: true,
            identity: String::new(),
            more_listeners: Vec::new(),
            pool: Some(PoolKeys {
                keys: keys.map(|(key, value)| (key, value.to_owned())).into(),
                active: Some(CHECKS.to_owned()),
                passive: "{ failures: 5 }".to_owned(),
                fail_open_percent: 90,
                brokers: names.zip(brokers).map(upstream).collect(),
            }),
            other: other.to_owned(),
            more_logs: None,
            top: top.map(|(key, value)| (key, value.to_owned())).into(),
        }
    }

    /// The pool that the listener's clients go to.
    pub(crate) fn serving_pool(&self) -> &'static str {
        if self.pool.is_some() { POOL } else { OTHER }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::from("listeners:\n");
        let mut line = |line: &str| writeln!(text, "{line}").unwrap();
        if self.listens {
            let (bind, pool, identity) = (&self.bind, self.serving_pool(), &self.identity);
            let others = self.more_listeners.iter().map(String::as_str);
            for keys in [&*format!("name: {LISTENER}")].into_iter().chain(others) {
                line(&format!("  - {{ {keys}, bind: \"{bind}\", pool: {pool}{identity} }}"));
            }
        }
        line(&format!("  - {{ name: {OTHER}, bind: \"127.0.0.1:0\", pool: {OTHER} }}"));
        line("pools:");
        if let Some(pool) = &self.pool {
            line(&format!("  - name: {POOL}"));
            for (key, value) in &pool.keys {
                line(&format!("    {key}: {value}"));
            }
            line("    health:");
            if let Some(active) = &pool.active {
                line(&format!("      active: {active}"));
            }
            line(&format!("      passive: {}", pool.passive));
            line(&format!("      fail_open_percent: {}", pool.fail_open_percent));
            line("    upstreams:");
            for Upstream { name, address, weight } in &pool.brokers {
                let keys = format!("name: {name}, address: \"{address}\", weight: {weight}");
                line(&format!("      - {{ {keys} }}"));
            }
        }
        let other = &self.other;
        line(&format!(
            "  - {{ name: {OTHER}, upstreams: [{{ name: o1, address: \"{other}\" }}] }}"
        ));
        line("access_log:");
        line(
            "  - { path: access.log, format: json, events: [connect, disconnect, reject, probe] }",
        );
        if let Some(log) = &self.more_logs {
            line(&format!("  - {log}"));
        }
        for (key, value) in &self.top {
            line(&format!("{key}: {value}"));
        }
        text
    }
}
