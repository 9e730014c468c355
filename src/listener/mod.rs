//! What a listener is, and its sockets.

mod bind;
mod inherited;
mod settings;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

pub use bind::{BindError, BoundListener, bind};
pub use inherited::{InheritedSocket, InheritedSockets};
pub use settings::ListenerSettings;

use bind::UnixSocketFile;

use crate::{
    config::{self, Bind},
    metrics::Metrics,
    upstream::Pool,
};

/// One listener, running. Shared by all threads; what a reload changes of it, it changes here.
pub struct Listener {
    /// What its sockets are known by.
    pub id: u64,
    /// The address as the configuration says it.
    wanted: Bind,
    /// The address in force: with its port where the configuration says 0.
    pub bind: Bind,
    /// The socket that it was handed over, if it was.
    inherited: Option<Arc<InheritedSocket>>,
    settings: ArcSwap<ListenerSettings>,
    file: Mutex<Option<UnixSocketFile>>,
}

impl Listener {
    /// Makes a listener of a bound address.
    pub fn new(
        config: &config::Listener,
        listening: BoundListener,
        pool: Arc<Pool>,
        metrics: &Metrics,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let BoundListener { bind, inherited, file, .. } = listening;
        let metrics = metrics.listener(&config.name);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            wanted: config.bind.clone(),
            settings: ArcSwap::from_pointee(ListenerSettings::new(config, &bind, pool, metrics)),
            bind,
            inherited,
            file: Mutex::new(file),
        }
    }

    /// Applies another configuration to new connections; existing ones keep theirs.
    pub fn configure(&self, config: &config::Listener, pool: Arc<Pool>, metrics: &Metrics) {
        let metrics = metrics.listener(&config.name);
        self.settings.store(Arc::new(ListenerSettings::new(config, &self.bind, pool, metrics)));
    }

    pub fn settings(&self) -> Arc<ListenerSettings> {
        self.settings.load_full()
    }

    /// Whether its sockets are those that `config` asks for.
    pub fn matches_bind(&self, config: &config::Listener) -> bool {
        // Two that leave the port to the kernel are told apart by their names.
        let is_any = matches!(config.bind, Bind::Tcp(address) if address.port() == 0);
        self.wanted == config.bind && (!is_any || self.settings.load().name == config.name)
    }

    /// The inherited socket that it has, if it has one.
    pub fn inherited(&self) -> Option<&Arc<InheritedSocket>> {
        self.inherited.as_ref()
    }

    /// Removes the file of its unix socket: now, as threads may still hold the listener when another
    /// is bound to that path.
    pub fn remove_file(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
