//! Listeners: their settings, and their sockets.

mod bind;
mod bind_error;
mod bound;
mod handed_share;
mod handed_tickets;
mod inherited;
mod inherited_socket;
mod previous;
mod rules;
mod settings;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

pub use bind::bind;
pub(crate) use bound::BoundListener;
pub(crate) use handed_tickets::HandedTickets;
pub(crate) use inherited::InheritedSockets;
pub(crate) use inherited_socket::InheritedSocket;
pub(crate) use previous::{PreviousListener, PreviousListeners};
pub(crate) use rules::{ListenerRules, RunningRule};
pub use settings::ListenerPools;
pub(crate) use settings::ListenerSettings;

use bound::UnixSocketFile;

use crate::{
    config::{self, Bind},
    metrics::Metrics,
    rules::Percent,
};
use rules::OperatorShares;

/// A running listener. Shared by all threads; a reload changes its settings in place.
pub struct Listener {
    /// Identifies its sockets to the workers; unique in the process.
    pub id: u64,
    /// The address in the configuration.
    configured_bind: Bind,
    /// The bound address, with the port chosen by the kernel if the configured port is 0.
    pub bind: Bind,
    /// The inherited socket that it uses, if any.
    inherited: Option<Arc<InheritedSocket>>,
    settings: ArcSwap<ListenerSettings>,
    shares: OperatorShares,
    /// Held while the settings or an operator's share change, so that neither change undoes the
    /// other.
    changing: Mutex<()>,
    file: Mutex<Option<UnixSocketFile>>,
}

impl Listener {
    /// Makes a listener from bound sockets, which the workers take separately.
    pub fn new(
        config: &config::Listener,
        listening: BoundListener,
        pools: &ListenerPools<'_>,
        metrics: &Metrics,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let BoundListener { bind, inherited, file, .. } = listening;
        let shares = OperatorShares::default();
        let metrics = metrics.listener(&config.name);
        let settings = ListenerSettings::new(config, &bind, pools, metrics, &shares);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            configured_bind: config.bind.clone(),
            settings: ArcSwap::from_pointee(settings),
            shares,
            changing: Mutex::default(),
            bind,
            inherited,
            file: Mutex::new(file),
        }
    }

    /// Applies another configuration to new connections; existing ones keep theirs.
    pub fn configure(
        &self,
        config: &config::Listener,
        pools: &ListenerPools<'_>,
        metrics: &Metrics,
    ) {
        let metrics = metrics.listener(&config.name);
        let _changing = self.begin_change();
        let settings = ListenerSettings::new(config, &self.bind, pools, metrics, &self.shares);
        self.settings.store(Arc::new(settings));
    }

    /// Sets the share of clients of a rule until the configured one changes; `None`: the configured
    /// one again. False if there is no such rule.
    pub fn set_percent(&self, rule: &str, percent: Option<Percent>) -> bool {
        let _changing = self.begin_change();
        let settings = self.settings.load();
        let running = settings.rules.iter().flat_map(ListenerRules::iter);
        let Some(running) = running.into_iter().find(|running| *running.rule.name == *rule) else {
            return false;
        };
        self.shares.set(&running.rule, percent);
        running.set_percent(percent.unwrap_or(running.rule.percent));
        true
    }

    /// Whether the operator has set the share of clients of a rule.
    pub fn is_percent_set(&self, rule: &str) -> bool {
        self.shares.is_set(rule)
    }

    pub fn settings(&self) -> Arc<ListenerSettings> {
        self.settings.load_full()
    }

    /// Whether its sockets match `config`, so that a reload keeps them.
    pub fn matches_bind(&self, config: &config::Listener) -> bool {
        // Listeners with port 0 are told apart by their names.
        let is_any = matches!(config.bind, Bind::Tcp(address) if address.port() == 0);
        self.configured_bind == config.bind && (!is_any || self.settings.load().name == config.name)
    }

    /// The inherited socket that it uses, if any.
    pub fn inherited(&self) -> Option<&Arc<InheritedSocket>> {
        self.inherited.as_ref()
    }

    /// The address in the configuration.
    pub(crate) fn configured_bind(&self) -> &Bind {
        &self.configured_bind
    }

    /// Leaves the file of its unix socket to another process that has the same socket.
    pub(crate) fn release_file(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(file) = file {
            file.keep();
        }
    }

    /// Removes the file of its unix socket from now on when it is closed.
    pub(crate) fn own_file(&self) {
        if let (Bind::Unix(path), None) = (&self.bind, &self.inherited) {
            let file = Some(UnixSocketFile::new(path.clone()));
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        }
    }

    /// Removes the file of its unix socket at once: other threads may still hold this listener when
    /// another one is bound to the same path.
    pub fn remove_file(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
