//! The open listeners, which reloads keep while the configuration has them.

use std::{num::NonZeroUsize, os::fd::OwnedFd, sync::Arc};

use anyhow::anyhow;

use crate::{
    config::{Bind, Config},
    listener::{
        self, BoundListener, InheritedSocket, InheritedSockets, Listener, ListenerPools,
        PreviousListeners,
    },
    metrics::Metrics,
    net::TcpOptions,
    upstream::Pool,
};

/// The listeners that are open.
#[derive(Default)]
pub(super) struct Listeners {
    /// In the order of the configuration.
    open: Vec<Arc<Listener>>,
    inherited: InheritedSockets,
    /// Sockets that the process before an upgrade has handed over, until they are bound.
    handed: PreviousListeners,
}

/// Listeners that are bound but not in use yet, in the order of the configuration. Dropping this
/// value closes the new ones.
pub(super) struct BoundListeners(Vec<PlannedListener>);

enum PlannedListener {
    Kept(Arc<Listener>),
    New(BoundListener),
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.open.iter().for_each(|listener| listener.remove_file());
    }
}

impl Listeners {
    /// Binds the listeners at startup. Call this once, before there are threads.
    ///
    /// # Errors
    /// The listeners that cannot be bound, and why.
    pub(super) fn first(
        config: &Config,
        workers: NonZeroUsize,
    ) -> anyhow::Result<(Self, BoundListeners)> {
        let (inherited, handed) = (InheritedSockets::from_env(), PreviousListeners::default());
        Self::start(config, workers, inherited, handed)
    }

    /// Takes the sockets of the process before an upgrade, and binds the listeners that it does not
    /// have.
    ///
    /// # Errors
    /// The listeners that cannot be bound, and why.
    pub(super) fn take_over(
        config: &Config,
        workers: NonZeroUsize,
        inherited: InheritedSockets,
        handed: PreviousListeners,
    ) -> anyhow::Result<(Self, BoundListeners)> {
        Self::start(config, workers, inherited, handed)
    }

    fn start(
        config: &Config,
        workers: NonZeroUsize,
        inherited: InheritedSockets,
        handed: PreviousListeners,
    ) -> anyhow::Result<(Self, BoundListeners)> {
        let mut listeners = Self { open: Vec::new(), inherited, handed };
        let bound = listeners.bind(config, workers.get());
        let bound = bound.map_err(|errors| anyhow!(errors.join("\n")))?;
        listeners.inherited.close_unused(&bound.inherited());
        listeners.handed = PreviousListeners::default();
        Ok((listeners, bound))
    }

    /// Binds the listeners that are not open yet, or takes the sockets that the service manager has
    /// passed.
    ///
    /// # Errors
    /// The listeners that cannot be bound, and why.
    pub(super) fn bind(
        &self,
        config: &Config,
        workers: usize,
    ) -> Result<BoundListeners, Vec<String>> {
        let options = TcpOptions::towards_clients(&config.timeouts);
        let kept: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| self.open.iter().find(|open| open.matches_bind(listener)).cloned())
            .collect();
        let inherited = kept.iter().flatten().filter_map(|kept| kept.inherited().cloned());
        let mut taken: Vec<_> = inherited.collect();
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for (listener, kept) in config.listeners.iter().zip(kept) {
            if let Some(kept) = kept {
                all.push(PlannedListener::Kept(kept));
                continue;
            }
            let handed_over = self.inherited.listening(listener, &taken, workers, options);
            let take = || self.handed.listening(listener, workers, options);
            let bind = || listener::bind(listener, workers, options);
            let handed_over =
                handed_over.and_then(|bound| bound.map_or_else(take, |it| Ok(Some(it))));
            match handed_over.and_then(|bound| bound.map_or_else(bind, Ok)) {
                Ok(listening) => {
                    taken.extend(listening.inherited().cloned());
                    all.push(PlannedListener::New(listening));
                }
                Err(error) => errors.push(match self.with_port_of(&listener.bind) {
                    Some(open) => format!(
                        "{error}. Listener {} of this proxy holds the port until the reload is \
                         complete: make the change in two reloads, or restart",
                        open.settings().name
                    ),
                    None => error.to_string(),
                }),
            }
        }
        if errors.is_empty() { Ok(BoundListeners(all)) } else { Err(errors) }
    }

    /// Puts the listeners that were bound for `config` into use, with its `pools`. Returns the
    /// sockets of new listeners, at least one for each worker.
    pub(super) fn adopt(
        &mut self,
        bound: BoundListeners,
        config: &Config,
        pools: &[Arc<Pool>],
        metrics: &Metrics,
    ) -> Vec<(u64, Vec<OwnedFd>)> {
        let before = std::mem::take(&mut self.open);
        let mut sockets = Vec::new();
        for (listener, config) in bound.0.into_iter().zip(&config.listeners) {
            let Some(default) = pools.get(config.pool).cloned() else { continue };
            let pools = &ListenerPools { default, all: pools };
            self.open.push(match listener {
                PlannedListener::Kept(listener) => {
                    listener.configure(config, pools, metrics);
                    listener
                }
                PlannedListener::New(mut listening) => {
                    let own = std::mem::take(&mut listening.sockets);
                    let listener = Arc::new(Listener::new(config, listening, pools, metrics));
                    tracing::info!(listener = %config.name, address = %listener.bind, "listening");
                    sockets.push((listener.id, own));
                    listener
                }
            });
        }
        for closed in before {
            if !self.open.iter().any(|open| open.id == closed.id) {
                closed.remove_file();
                let name = &closed.settings().name;
                tracing::info!(listener = %name, address = %closed.bind, "no longer listening");
            }
        }
        sockets
    }

    /// Leaves the files of unix sockets to the process after an upgrade.
    pub(super) fn release_files(&self) {
        self.open.iter().for_each(|listener| listener.release_file());
    }

    /// Takes the files of unix sockets from the process before an upgrade.
    pub(super) fn own_files(&self) {
        self.open.iter().for_each(|listener| listener.own_file());
    }

    /// The sockets that the service manager has passed.
    pub(super) fn inherited(&self) -> &InheritedSockets {
        &self.inherited
    }

    /// In the order of the configuration.
    pub(super) fn open(&self) -> &[Arc<Listener>] {
        &self.open
    }

    fn with_port_of(&self, bind: &Bind) -> Option<&Arc<Listener>> {
        let Bind::Tcp(wanted) = bind else { return None };
        self.open.iter().find(|open| match open.bind {
            Bind::Tcp(address) => address.port() == wanted.port(),
            Bind::Unix(_) => false,
        })
    }
}

impl BoundListeners {
    fn inherited(&self) -> Vec<Arc<InheritedSocket>> {
        let inherited = self.0.iter().filter_map(|listener| match listener {
            PlannedListener::Kept(listener) => listener.inherited(),
            PlannedListener::New(listening) => listening.inherited(),
        });
        inherited.cloned().collect()
    }
}
