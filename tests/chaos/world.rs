//! The proxy with its brokers, its name server and its logs.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{Proxy, program, wait_for},
    name_server::Dnsmasq,
    stub::Stub,
    tls_client::Pki,
};

/// How clients come in: each has a listener of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Plain,
    Tls,
    WebSocket,
    Proxied,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Tls, Self::WebSocket, Self::Proxied];

    /// The listener's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::Proxied => "proxied",
        }
    }
}

pub(crate) struct World {
    pub(crate) proxy: Proxy,
    /// The last one has a name, whose address DNS knows.
    pub(crate) brokers: [Stub; 3],
    pub(crate) dns: Mutex<Dnsmasq>,
    pub(crate) pki: Pki,
    pub(crate) blocking: Pipe,
    pub(crate) dropping: Pipe,
    /// Connections made to each listener.
    opened: BTreeMap<Way, AtomicU64>,
}

/// A log that is a pipe, and what has been read from it.
pub(crate) struct Pipe {
    path: PathBuf,
    lines: Arc<Mutex<Vec<Value>>>,
    /// Not read while this is set.
    pub(crate) stuck: Arc<AtomicBool>,
}

/// What the process has while nobody is there.
#[derive(Debug)]
pub(crate) struct AtRest {
    pub(crate) descriptors: usize,
}

impl World {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let brokers = [Stub::start(), Stub::start(), Stub::start()];
        let dns = Dnsmasq::start(&[], &["127.0.0.1 broker.test"]);
        let pki = Pki::new();
        let pipe = |name: &str| Pipe::new(dir.path().join(name));
        let (blocking, dropping) = (pipe("blocking.log"), pipe("dropping.log"));
        let config = config(&dir, &brokers, &dns, &pki, false);
        let proxy = Proxy::start_in(dir, &config, |_| program());
        let opened = Way::ALL.map(|way| (way, AtomicU64::new(0))).into();
        Self { proxy, brokers, dns: Mutex::new(dns), pki, blocking, dropping, opened }
    }

    /// Has the proxy go by one of two configurations.
    pub(crate) fn reload(&self, other: bool) {
        let dns = self.dns.lock().unwrap();
        let text = config(&self.proxy.dir, &self.brokers, &dns, &self.pki, other);
        fs::write(self.proxy.config_file(), text).unwrap();
        self.proxy.signal(rustix::process::Signal::HUP);
    }

    pub(crate) fn address(&self, way: Way) -> SocketAddr {
        self.proxy.address_of(way.name())
    }

    pub(crate) fn count_opened(&self, way: Way) {
        self.opened[&way].fetch_add(1, Relaxed);
    }

    pub(crate) fn opened(&self, way: Way) -> u64 {
        self.opened[&way].load(Relaxed)
    }

    pub(crate) fn at_rest(&self) -> AtRest {
        AtRest { descriptors: self.proxy.descriptors() }
    }
}

impl Pipe {
    fn new(path: PathBuf) -> Self {
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let (lines, stuck) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<AtomicBool>::default());
        let pipe = Self { path, lines: lines.clone(), stuck: stuck.clone() };
        // Opened for both, so that opening does not wait for the proxy and a reload makes no end.
        let file = fs::OpenOptions::new().read(true).write(true).open(&pipe.path).unwrap();
        thread::spawn(move || {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                wait_for_ever(|| !stuck.load(Relaxed));
                let value = serde_json::from_str(&line).expect(&line);
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        pipe
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn wait_for_ever(mut look: impl FnMut() -> bool) {
    while !look() {
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn config(dir: &TempDir, brokers: &[Stub; 3], dns: &Dnsmasq, pki: &Pki, other: bool) -> String {
    let [b1, b2, b3] = brokers;
    let path = |name: &str| Path::join(dir.path(), name).display().to_string();
    let listener = |way: Way, more: &str| {
        let name = way.name();
        format!("  - {{ name: {name}, bind: \"127.0.0.1:0\", pool: p{more} }}\n")
    };
    let listeners: String = Way::ALL
        .map(|way| match way {
            Way::Plain => listener(way, ""),
            Way::Tls => listener(way, &format!(", {}", pki.tls(""))),
            Way::WebSocket => listener(way, ", websocket: { path: /mqtt }"),
            Way::Proxied => listener(way, ", accept_proxy_protocol: { from: [127.0.0.0/8] }"),
        })
        .concat();
    // What may change under way.
    let (pool, limits) = if other {
        (
            "    admission: { rate: 200, burst: 50, max_wait: 2s }\n    \
             balance: { bounded_load: 1.25 }\n    rebalance: { rate: 50 }\n",
            "limits: { max_connections_per_ip: 15, connects_per_ip: { rate: 200, burst: 100 } }\n",
        )
    } else {
        ("", "")
    };
    format!(
        "runtime: {{ workers: 2 }}\nlisteners:\n{listeners}pools:\n  - name: p\n{pool}    \
         connect_timeout: 500ms\n    connack_timeout: 1s\n    health:\n      \
         active: {{ type: mqtt, interval: 500ms, timeout: 400ms, fall: 2, rise: 2 }}\n      \
         passive: {{ failures: 3, window: 5s, eject_for: 1s }}\n    upstreams:\n      \
         - {{ name: b1, address: \"{}\" }}\n      - {{ name: b2, address: \"{}\", max_connections: 6 \
         }}\n      - {{ name: b3, address: \"broker.test:{}\" }}\n{limits}dns: {{ servers: [\"{}\"] \
         }}\ntimeouts: {{ connect_packet: 2s, half_close: 1s }}\naccess_log:\n  \
         - {{ path: {}, when_full: block, events: [connect, disconnect, reject, probe] }}\n  \
         - {{ path: {}, when_full: drop, events: [connect, disconnect, reject, probe] }}\nadmin: {{ \
         bind: \"127.0.0.1:0\" }}\n",
        b1.address(),
        b2.address(),
        b3.port(),
        dns.address,
        path("blocking.log"),
        path("dropping.log"),
    )
}

/// Waits until a pipe has given all that was written.
pub(crate) fn settle(pipe: &Pipe, lines: usize) {
    let name = pipe.path.display();
    wait_for(&format!("{lines} lines of {name}"), || (pipe.count() >= lines).then_some(()));
}
