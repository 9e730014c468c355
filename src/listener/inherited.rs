//! Sockets that the service manager listens on and passes to this process (`sd_listen_fds(3)`).

use std::{env, io, os::fd::OwnedFd, sync::Arc};

use listenfd::ListenFd;
use socket2::{SockAddr, Socket};

use super::{
    bind_error::BindError,
    bound::{BACKLOG, BoundListener},
    inherited_socket::InheritedSocket,
};
use crate::{
    config::{self, Bind},
    net::{TcpOptions, no_delay},
};

/// The inherited sockets. They stay open across reloads, so that a listener that is removed and
/// added again gets its socket back.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets {
    sockets: Vec<Arc<InheritedSocket>>,
}

impl InheritedSockets {
    /// Takes the sockets that LISTEN_FDS announces. Has to be called once, before other threads
    /// read the environment: it removes the variables.
    pub(crate) fn from_env() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut inherited = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..inherited.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match take(&mut inherited, index) {
                Ok((address, socket)) => {
                    sockets.push(Arc::new(InheritedSocket { name, address, socket }));
                }
                Err(error) => {
                    tracing::warn!(name, %error, "ignoring inherited socket: not a listening socket");
                }
            }
        }
        Self { sockets }
    }

    /// Takes sockets that another process of this program was passed, with their names.
    ///
    /// # Errors
    /// If a descriptor is not a listening socket.
    pub(crate) fn handed(sockets: Vec<(String, OwnedFd)>) -> io::Result<Self> {
        let take = |(name, socket): (String, OwnedFd)| {
            let socket = Socket::from(socket);
            let address = local_address(&socket)?;
            Ok(Arc::new(InheritedSocket { name, address, socket }))
        };
        Ok(Self { sockets: sockets.into_iter().map(take).collect::<io::Result<_>>()? })
    }

    /// Duplicates of the sockets, with their names.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let duplicate = |inherited: &Arc<InheritedSocket>| {
            Ok((inherited.name.clone(), inherited.socket.try_clone()?.into()))
        };
        self.sockets.iter().map(duplicate).collect()
    }

    /// The socket with the listener's name, otherwise one with its address, for `workers` workers.
    /// `taken` are the sockets of other listeners. `None` if the listener has to bind a socket of
    /// its own.
    ///
    /// # Errors
    /// If that socket cannot be used.
    pub(crate) fn listening(
        &self,
        listener: &config::Listener,
        taken: &[Arc<InheritedSocket>],
        workers: usize,
        options: TcpOptions,
    ) -> Result<Option<BoundListener>, BindError> {
        let Some(inherited) = self.find(listener, taken) else { return Ok(None) };
        let InheritedSocket { address, socket, .. } = &**inherited;
        let sockets = share(socket, address, workers, options)
            .map_err(|error| BindError::new(listener, address, error))?;
        let (bind, inherited) = (address.clone(), Some(inherited.clone()));
        Ok(Some(BoundListener { bind, sockets, inherited, file: None }))
    }

    fn find(
        &self,
        listener: &config::Listener,
        taken: &[Arc<InheritedSocket>],
    ) -> Option<&Arc<InheritedSocket>> {
        let of_name = |inherited: &InheritedSocket| *inherited.name == *listener.name;
        let of_address = |inherited: &InheritedSocket| inherited.address == listener.bind;
        let covers = |inherited: &InheritedSocket| inherited.covers(&listener.bind);
        let conditions: [&dyn Fn(&InheritedSocket) -> bool; 3] = [&of_name, &of_address, &covers];
        let is_free =
            |inherited: &&Arc<InheritedSocket>| !taken.iter().any(|it| Arc::ptr_eq(it, inherited));
        let first = |is_it: &&dyn Fn(&InheritedSocket) -> bool| {
            self.sockets.iter().filter(is_free).find(|inherited| is_it(inherited))
        };
        conditions.iter().find_map(first)
    }

    /// Closes sockets that no listener uses, with a warning: the service manager still holds them,
    /// and clients that connect there are never accepted.
    pub(crate) fn close_unused(&mut self, taken: &[Arc<InheritedSocket>]) {
        self.sockets.retain(|inherited| {
            let is_taken = taken.iter().any(|it| Arc::ptr_eq(it, inherited));
            if !is_taken {
                tracing::warn!(
                    name = inherited.name, address = %inherited.address,
                    "closing inherited socket: no listener has its name or its address; connections to \
                     it are not accepted"
                );
            }
            is_taken
        });
    }
}

fn take(inherited: &mut ListenFd, index: usize) -> io::Result<(Bind, Socket)> {
    let socket: Socket = match inherited.take_tcp_listener(index) {
        Ok(Some(listener)) => listener.into(),
        _ => match inherited.take_unix_listener(index)? {
            Some(listener) => listener.into(),
            None => return Err(io::ErrorKind::NotFound.into()),
        },
    };
    Ok((local_address(&socket)?, socket))
}

/// The address that a socket is bound to.
pub(super) fn local_address(socket: &Socket) -> io::Result<Bind> {
    address(&socket.local_addr()?)
}

fn address(address: &SockAddr) -> io::Result<Bind> {
    let tcp = || address.as_socket().map(Bind::Tcp);
    let unix = || address.as_pathname().map(|path| Bind::Unix(path.to_owned()));
    tcp().or_else(unix).ok_or_else(|| io::Error::other("it has neither an IP address nor a path"))
}

/// Duplicates a socket, so that all workers accept from its one queue: additional sockets with
/// SO_REUSEPORT are impossible for a unix socket, and for a TCP socket bound by another process.
fn share(
    socket: &Socket,
    address: &Bind,
    workers: usize,
    options: TcpOptions,
) -> io::Result<Vec<OwnedFd>> {
    socket.set_nonblocking(true)?;
    if matches!(address, Bind::Tcp(_)) {
        no_delay(socket)?;
        options.apply(socket)?;
    }
    // Listens again, to get a queue as long as that of the proxy's own sockets.
    socket.listen(BACKLOG)?;
    (0..workers).map(|_| Ok(socket.try_clone()?.into())).collect()
}
