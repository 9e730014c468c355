//! Configuration files for the proxy under test.

use crate::{
    broker::Broker,
    harness::{Proxy, program},
};

/// A configuration file in the making: one listener, one pool, JSON log, admin.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) bind: String,
    /// Further keys of the listener, in flow style.
    pub(crate) listener: Vec<String>,
    /// Flow mappings of listeners other than `mqtt`, without their bind and pool.
    pub(crate) other_listeners: Vec<String>,
    /// Lines of the pool other than its upstreams, in flow style, such as `tries: 2`.
    pub(crate) pool: Vec<String>,
    /// Flow mappings of the upstreams.
    pub(crate) upstreams: Vec<String>,
    /// Flow mappings of further pools.
    pub(crate) other_pools: Vec<String>,
    pub(crate) access_log: String,
    pub(crate) admin: String,
    pub(crate) log_level: &'static str,
    /// More top-level keys.
    pub(crate) more: Vec<String>,
}

impl Config {
    /// One pool of brokers called b1, b2, …
    pub(crate) fn of<'a>(brokers: impl IntoIterator<Item = &'a Broker>) -> Self {
        Self::at(brokers.into_iter().map(|broker| broker.address.to_string()))
    }

    pub(crate) fn at(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let upstreams = addresses.into_iter().map(Into::into).enumerate();
        Self {
            workers: 1,
            bind: "127.0.0.1:0".to_owned(),
            listener: Vec::new(),
            other_listeners: Vec::new(),
            pool: Vec::new(),
            upstreams: upstreams
                .map(|(n, address)| format!("{{ name: b{}, address: \"{address}\" }}", n + 1))
                .collect(),
            other_pools: Vec::new(),
            access_log: "{ path: access.log, format: json, \
                          events: [connect, disconnect, reject, probe, ban] }"
                .to_owned(),
            admin: "127.0.0.1:0".to_owned(),
            log_level: "info",
            more: Vec::new(),
        }
    }

    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    pub(crate) fn bind(mut self, bind: impl Into<String>) -> Self {
        self.bind = bind.into();
        self
    }

    pub(crate) fn listener(mut self, key: &str) -> Self {
        self.listener.push(key.to_owned());
        self
    }

    /// One more listener, by its further keys, such as `name: ws, websocket: {}`.
    pub(crate) fn another_listener(mut self, keys: &str) -> Self {
        self.other_listeners.push(keys.to_owned());
        self
    }

    pub(crate) fn pool(mut self, line: &str) -> Self {
        self.pool.push(line.to_owned());
        self
    }

    /// One more pool, of one broker with the name of the pool, with further keys such as `tries: 2`.
    pub(crate) fn another_pool(mut self, name: &str, broker: &Broker, keys: &str) -> Self {
        let upstream = format!("{{ name: {name}, address: \"{}\" }}", broker.address);
        let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        self.other_pools.push(format!("{{ name: {name}, upstreams: [ {upstream} ]{keys} }}"));
        self
    }

    pub(crate) fn more(mut self, line: &str) -> Self {
        self.more.push(line.to_owned());
        self
    }

    pub(crate) fn text(&self) -> String {
        let Self { workers, bind, access_log, admin, log_level, .. } = self;
        let lines = |indent: &str, lines: &[String]| -> String {
            lines.iter().flat_map(|line| [indent, line, "\n"]).collect()
        };
        let of_listener: String =
            self.listener.iter().flat_map(|key| [", ", key.as_str()]).collect();
        let others: String = self
            .other_listeners
            .iter()
            .flat_map(|keys| [", { bind: \"127.0.0.1:0\", pool: brokers, ", keys, " }"])
            .collect();
        let of_pool = lines("    ", &self.pool);
        let mut upstreams = lines("      - ", &self.upstreams);
        if !upstreams.is_empty() {
            upstreams.insert_str(0, "    upstreams:\n");
        }
        let other_pools = lines("  - ", &self.other_pools);
        let more = lines("", &self.more);
        format!(
            "runtime: {{ workers: {workers} }}\n\
             listeners: [ {{ name: mqtt, bind: \"{bind}\", pool: brokers{of_listener} }}{others} ]\n\
             pools:\n  - name: brokers\n{of_pool}{upstreams}{other_pools}\
             access_log: [ {access_log} ]\n\
             admin: {{ bind: \"{admin}\" }}\n\
             log: {{ level: {log_level} }}\n{more}"
        )
    }

    /// Starts what cannot run, to its exit.
    #[track_caller]
    pub(crate) fn fail_to_start(&self, said: &str) {
        let mut proxy = Proxy::spawn(tempfile::tempdir().unwrap(), &self.text(), |_| program());
        assert_eq!(proxy.wait_exit().code(), Some(1));
        proxy.wait_stderr(said);
    }

    pub(crate) fn start(&self) -> Proxy {
        Proxy::start(&self.text())
    }
}
