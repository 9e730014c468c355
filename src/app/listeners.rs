//! The listening sockets: kept through reloads for as long as something is to listen there.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::anyhow;

use crate::{
    config::{self, Bind, Config},
    listener::{self, Inherited, Listening},
    transport::TcpOptions,
};

/// The listeners that are open, in the order of the configuration.
#[derive(Default)]
pub(super) struct Listeners(Vec<Open>);

struct Open {
    /// The snapshot's [`Entrance::id`](crate::snapshot::Entrance::id).
    id: u64,
    name: Arc<str>,
    /// As the configuration says it.
    wanted: Bind,
    /// As it is in force.
    bind: Bind,
    _file: Option<SocketFile>,
}

/// The file of a unix socket, which goes with it.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What cannot be removed now, the next start finds stale and removes.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What is to be open next, bound and not in use yet. Dropped, it leaves no trace.
pub(super) struct Bound {
    places: Vec<Place>,
    /// Of those that are new: one socket for each worker.
    sockets: Vec<(u64, Vec<OwnedFd>)>,
}

enum Place {
    /// Where it stands among those that are open.
    Kept(usize),
    New(Open),
}

impl Bound {
    /// What is open from the start. To be called once, before there are threads
    /// that look at the environment.
    ///
    /// # Errors
    /// What cannot be bound, and why not.
    pub(super) fn first(config: &Config) -> anyhow::Result<Self> {
        let mut inherited = Inherited::from_env();
        let bound = Listeners::default().bind(config, &mut inherited);
        let bound = bound.map_err(|errors| anyhow!(errors.join("\n")))?;
        inherited.leave_the_rest();
        Ok(bound)
    }
}

impl Listeners {
    /// Binds what is not open yet, or takes it from what the service manager has handed over.
    ///
    /// # Errors
    /// What cannot be bound, and why not.
    pub(super) fn bind(
        &self,
        config: &Config,
        inherited: &mut Inherited,
    ) -> Result<Bound, Vec<String>> {
        let options = TcpOptions {
            keepalive: config.timeouts.tcp_keepalive,
            user_timeout: config.timeouts.tcp_user_timeout,
        };
        let workers = config.runtime.workers.get();
        let (mut places, mut sockets, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for listener in &config.listeners {
            if let Some(at) = self.0.iter().position(|open| open.is_for(listener)) {
                places.push(Place::Kept(at));
                continue;
            }
            let handed_over = inherited.listening(listener, workers, options);
            let bind = || listener::bind(listener, workers, options);
            match handed_over.and_then(|handed_over| handed_over.map_or_else(bind, Ok)) {
                Ok(mut listening) => {
                    let own = std::mem::take(&mut listening.sockets);
                    let open = Open::new(listener, &listening);
                    sockets.push((open.id, own));
                    places.push(Place::New(open));
                }
                Err(error) => errors.push(match self.at_port_of(&listener.bind) {
                    Some(open) => format!(
                        "{error}. Listener {} of this proxy has the port until the reload is over: \
                         make it two reloads, or restart",
                        open.name
                    ),
                    None => error.to_string(),
                }),
            }
        }
        if errors.is_empty() { Ok(Bound { places, sockets }) } else { Err(errors) }
    }

    /// Goes by what was bound. Returns the new sockets, of which each worker takes its own.
    pub(super) fn adopt(&mut self, bound: Bound) -> Vec<(u64, Vec<OwnedFd>)> {
        let mut before: Vec<_> = std::mem::take(&mut self.0).into_iter().map(Some).collect();
        let places = bound.places.into_iter();
        self.0.extend(places.filter_map(|place| match place {
            Place::Kept(at) => before.get_mut(at).and_then(Option::take),
            Place::New(open) => {
                tracing::info!(listener = %open.name, address = %open.bind, "listening");
                Some(open)
            }
        }));
        for closed in before.into_iter().flatten() {
            tracing::info!(listener = %closed.name, address = %closed.bind, "no longer listening");
        }
        bound.sockets
    }

    fn at_port_of(&self, bind: &Bind) -> Option<&Open> {
        let Bind::Tcp(wanted) = bind else { return None };
        self.0.iter().find(|open| match open.bind {
            Bind::Tcp(address) => address.port() == wanted.port(),
            Bind::Unix(_) => false,
        })
    }

    /// The addresses in force, by [`Entrance::id`](crate::snapshot::Entrance::id).
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, Bind)> {
        self.0.iter().map(|open| (open.id, open.bind.clone()))
    }
}

impl Open {
    fn new(listener: &config::Listener, listening: &Listening) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: listener.name.clone(),
            wanted: listener.bind.clone(),
            bind: listening.bind.clone(),
            _file: listening.socket_file().map(SocketFile),
        }
    }

    fn is_for(&self, listener: &config::Listener) -> bool {
        // Two that leave the port to the kernel are told apart by their names.
        let is_any = matches!(listener.bind, Bind::Tcp(address) if address.port() == 0);
        self.wanted == listener.bind && (!is_any || self.name == listener.name)
    }
}
