//! A running proxy with one listener, one pool and one broker.

use std::{
    fs,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
};

use crate::{
    config::{Bind, Config},
    control::{listeners::Listeners, proxy::Proxy},
    metrics::Metrics,
    session::Drain,
    worker::Worker,
};

/// How long a condition may take to become true.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct RunningProxy {
    pub(super) address: SocketAddr,
    proxy: Proxy,
    folder: TempDir,
    // Dropped last: the proxy's tasks run on it.
    _runtime: Runtime,
}

impl RunningProxy {
    /// Starts a proxy for a broker at `broker`. `listener`: further keys of its listener; `adjust`
    /// changes what was read.
    pub(super) fn start(
        broker: SocketAddr,
        listener: &str,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let text = format!(
            r#"{{ runtime: {{ workers: 1 }}, access_log: [{{ path: access.log }}],
            listeners: [{{ name: l, bind: "127.0.0.1:0", pool: p{listener} }}],
            pools: [{{ name: p, upstreams: [{{ name: b, address: "{broker}" }}] }}] }}"#,
        );
        let file = folder.path().join("test.yaml");
        let mut config = Config::parse(&text, &file, &|_| None).unwrap();
        adjust(&mut config);
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let proxy = runtime.block_on(start(&Arc::new(config), &file));
        let snapshot = proxy.current.load();
        let Bind::Tcp(address) = snapshot.listeners[0].bind else { panic!("not TCP") };
        drop(snapshot);
        Self { address, proxy, folder, _runtime: runtime }
    }

    /// The value of a sample, such as `name{label="value"}`.
    #[track_caller]
    pub(super) fn metric(&self, sample: &str) -> u64 {
        let text = self.proxy.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("mqtt_lb_{sample} ")));
        value.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
    }

    /// The bytes relayed in a direction, `in` or `out`, as of the last sweep.
    fn swept_bytes(&self, direction: &str) -> u64 {
        self.metric(&format!(r#"bytes_total{{direction="{direction}",pool="p",upstream="b"}}"#))
    }

    /// Waits until a sweep has visited the session after it has relayed so many bytes.
    pub(super) fn wait_for_sweep(&self, direction: &str, bytes: usize) {
        wait_until("a sweep", || self.swept_bytes(direction) >= bytes as u64);
    }

    /// Waits for the line about the end of a session.
    pub(super) fn end(&self) -> Value {
        wait_until("the end of a session", || !self.ends().is_empty());
        self.ends().remove(0)
    }

    /// The lines about ends of sessions so far.
    pub(super) fn ends(&self) -> Vec<Value> {
        self.lines("disconnect")
    }

    /// The lines of an event so far.
    pub(super) fn lines(&self, event: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    }

    /// The only worker.
    pub(super) fn worker(&self) -> &Worker {
        &self.proxy.workers[0]
    }

    /// Sets the weight of a broker, as an operator does.
    pub(super) fn set_weight(&self, broker: &str, weight: NonZeroU32) {
        self.proxy.current.load().pools[0].set_weight(broker, Some(weight)).unwrap();
    }

    /// Waits until so many sessions have ended, and returns their lines.
    pub(super) fn wait_ends(&self, count: usize) -> Vec<Value> {
        wait_until("the ends of sessions", || self.ends().len() >= count);
        self.ends()
    }

    /// Begins a drain that takes `timeout`.
    pub(super) fn drain(&self, timeout: Duration) {
        let drain = Drain { until: Instant::now() + timeout, offset: 0.0 };
        self.proxy.workers.iter().for_each(|worker| worker.drain(drain));
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        // A test that fails reports its own fault.
        let _ = Worker::stop_all(std::mem::take(&mut self.proxy.workers));
    }
}

async fn start(config: &Arc<Config>, file: &Path) -> Proxy {
    let workers = NonZeroUsize::MIN;
    let listeners = Listeners::first(config, workers).unwrap();
    let (ended, _) = mpsc::unbounded_channel();
    Proxy::start(config, file, workers, listeners, &Metrics::new(), &ended, None).await.unwrap()
}

pub(super) fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_true() {
        assert!(Instant::now() < deadline, "no {what} in time");
        sleep(Duration::from_millis(5));
    }
}
