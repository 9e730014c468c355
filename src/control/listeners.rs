//! The listeners: kept through reloads for as long as something is to listen there.

use std::{num::NonZeroUsize, os::fd::OwnedFd, sync::Arc};

use anyhow::anyhow;

use crate::{
    config::{Bind, Config},
    listener::{self, BoundListener, InheritedSocket, InheritedSockets, Listener},
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
}

/// What is to be open next, bound and not in use yet, in the order of the configuration. Dropped, it
/// leaves no trace.
pub(super) struct Bound(Vec<Place>);

enum Place {
    Kept(Arc<Listener>),
    New(BoundListener),
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.open.iter().for_each(|listener| listener.remove_file());
    }
}

impl Listeners {
    /// What is open from the start, with what is bound for it. To be called once, before there are
    /// threads.
    ///
    /// # Errors
    /// What cannot be bound, and why not.
    pub(super) fn first(config: &Config, workers: NonZeroUsize) -> anyhow::Result<(Self, Bound)> {
        let mut listeners = Self { open: Vec::new(), inherited: InheritedSockets::from_env() };
        let bound = listeners.bind(config, workers.get());
        let bound = bound.map_err(|errors| anyhow!(errors.join("\n")))?;
        listeners.inherited.close_unused(&bound.inherited());
        Ok((listeners, bound))
    }

    /// Binds what is not open yet, or takes it from what the service manager has handed over.
    ///
    /// # Errors
    /// What cannot be bound, and why not.
    pub(super) fn bind(&self, config: &Config, workers: usize) -> Result<Bound, Vec<String>> {
        let options = TcpOptions::towards_clients(&config.timeouts);
        let kept: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| self.open.iter().find(|open| open.matches_bind(listener)).cloned())
            .collect();
        let inherited = kept.iter().flatten().filter_map(|kept| kept.inherited().cloned());
        let mut taken: Vec<_> = inherited.collect();
        let (mut places, mut errors) = (Vec::new(), Vec::new());
        for (listener, kept) in config.listeners.iter().zip(kept) {
            if let Some(kept) = kept {
                places.push(Place::Kept(kept));
                continue;
            }
            let handed_over = self.inherited.listening(listener, &taken, workers, options);
            let bind = || listener::bind(listener, workers, options);
            match handed_over.and_then(|handed_over| handed_over.map_or_else(bind, Ok)) {
                Ok(listening) => {
                    taken.extend(listening.inherited().cloned());
                    places.push(Place::New(listening));
                }
                Err(error) => errors.push(match self.at_port_of(&listener.bind) {
                    Some(open) => format!(
                        "{error}. Listener {} of this proxy has the port until the reload is over: \
                         make it two reloads, or restart",
                        open.settings().name
                    ),
                    None => error.to_string(),
                }),
            }
        }
        if errors.is_empty() { Ok(Bound(places)) } else { Err(errors) }
    }

    /// Goes by what was bound for `config`, whose pools these are. Returns the new sockets, of which
    /// each worker takes its own.
    pub(super) fn adopt(
        &mut self,
        bound: Bound,
        config: &Config,
        pools: &[Arc<Pool>],
        metrics: &Metrics,
    ) -> Vec<(u64, Vec<OwnedFd>)> {
        let before = std::mem::take(&mut self.open);
        let mut sockets = Vec::new();
        for (place, config) in bound.0.into_iter().zip(&config.listeners) {
            let Some(pool) = pools.get(config.pool).cloned() else { continue };
            self.open.push(match place {
                Place::Kept(listener) => {
                    listener.configure(config, pool, metrics);
                    listener
                }
                Place::New(mut listening) => {
                    let own = std::mem::take(&mut listening.sockets);
                    let listener = Arc::new(Listener::new(config, listening, pool, metrics));
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

    /// Those that are open, in the order of the configuration.
    pub(super) fn open(&self) -> &[Arc<Listener>] {
        &self.open
    }

    fn at_port_of(&self, bind: &Bind) -> Option<&Arc<Listener>> {
        let Bind::Tcp(wanted) = bind else { return None };
        self.open.iter().find(|open| match open.bind {
            Bind::Tcp(address) => address.port() == wanted.port(),
            Bind::Unix(_) => false,
        })
    }
}

impl Bound {
    fn inherited(&self) -> Vec<Arc<InheritedSocket>> {
        let inherited = self.0.iter().filter_map(|place| match place {
            Place::Kept(listener) => listener.inherited(),
            Place::New(listening) => listening.inherited(),
        });
        inherited.cloned().collect()
    }
}
