//! Sockets that the service manager listens on and hands over (`sd_listen_fds(3)`).

use std::{
    env, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    sync::Arc,
};

use listenfd::ListenFd;
use socket2::{SockAddr, Socket};

use super::bind::{BACKLOG, BindError, BoundListener};
use crate::{
    config::{self, Bind},
    net::{TcpOptions, no_delay},
};

/// The sockets that were handed over. They stay open through reloads, so that a listener that goes
/// and comes back has its socket again.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    sockets: Vec<Arc<InheritedSocket>>,
}

/// One of them.
#[derive(Debug)]
pub struct InheritedSocket {
    /// FileDescriptorName= of the socket unit; without it, the unit's name.
    name: String,
    address: Bind,
    socket: Socket,
}

impl InheritedSockets {
    /// Takes what LISTEN_FDS announces to this process. To be called once, before there are threads
    /// that look at the environment: it takes the announcement out of it.
    pub fn from_env() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match take(&mut handed, index) {
                Ok((address, socket)) => {
                    sockets.push(Arc::new(InheritedSocket { name, address, socket }))
                }
                Err(error) => {
                    tracing::warn!(name, %error, "a socket was handed over that cannot be listened on");
                }
            }
        }
        Self { sockets }
    }

    /// The socket with the listener's name, else the one with its address, for so many workers;
    /// `taken` are those that other listeners have. `None`: the listener has to bind its own.
    ///
    /// # Errors
    /// What is wrong with that socket.
    pub fn listening(
        &self,
        listener: &config::Listener,
        taken: &[Arc<InheritedSocket>],
        workers: usize,
        options: TcpOptions,
    ) -> Result<Option<BoundListener>, BindError> {
        let Some(handed) = self.find(listener, taken) else { return Ok(None) };
        let InheritedSocket { address, socket, .. } = &**handed;
        let sockets = share(socket, address, workers, options)
            .map_err(|error| BindError::new(listener, address, error))?;
        let (bind, inherited) = (address.clone(), Some(handed.clone()));
        Ok(Some(BoundListener { bind, sockets, inherited, file: None }))
    }

    fn find(
        &self,
        listener: &config::Listener,
        taken: &[Arc<InheritedSocket>],
    ) -> Option<&Arc<InheritedSocket>> {
        let of_name = |handed: &InheritedSocket| *handed.name == *listener.name;
        let of_address = |handed: &InheritedSocket| handed.address == listener.bind;
        let covers = |handed: &InheritedSocket| handed.covers(&listener.bind);
        let conditions: [&dyn Fn(&InheritedSocket) -> bool; 3] = [&of_name, &of_address, &covers];
        let is_free =
            |handed: &&Arc<InheritedSocket>| !taken.iter().any(|it| Arc::ptr_eq(it, handed));
        let first = |is_it: &&dyn Fn(&InheritedSocket) -> bool| {
            self.sockets.iter().filter(is_free).find(|handed| is_it(handed))
        };
        conditions.iter().find_map(first)
    }

    /// Closes what no listener has taken, and says so: the service manager still holds these, and
    /// clients would wait there for nobody.
    pub fn close_unused(&mut self, taken: &[Arc<InheritedSocket>]) {
        self.sockets.retain(|handed| {
            let is_taken = taken.iter().any(|it| Arc::ptr_eq(it, handed));
            if !is_taken {
                tracing::warn!(
                    name = handed.name, address = %handed.address,
                    "a socket was handed over that no listener has the name or the address of; not \
                     accepting there"
                );
            }
            is_taken
        });
    }
}

impl InheritedSocket {
    /// A socket of [::] takes the clients of 0.0.0.0 as well, unless it is told not to. Such is
    /// systemd's `ListenStream=1883`.
    fn covers(&self, bind: &Bind) -> bool {
        let (Bind::Tcp(here), Bind::Tcp(wanted)) = (&self.address, bind) else { return false };
        here.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            && wanted.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            && here.port() == wanted.port()
            && self.socket.only_v6().is_ok_and(|only| !only)
    }
}

fn take(handed: &mut ListenFd, index: usize) -> io::Result<(Bind, Socket)> {
    let socket: Socket = match handed.take_tcp_listener(index) {
        Ok(Some(listener)) => listener.into(),
        _ => match handed.take_unix_listener(index)? {
            Some(listener) => listener.into(),
            None => return Err(io::ErrorKind::NotFound.into()),
        },
    };
    Ok((address(&socket.local_addr()?)?, socket))
}

fn address(address: &SockAddr) -> io::Result<Bind> {
    let tcp = || address.as_socket().map(Bind::Tcp);
    let unix = || address.as_pathname().map(|path| Bind::Unix(path.to_owned()));
    tcp().or_else(unix).ok_or_else(|| io::Error::other("it has neither an IP address nor a path"))
}

/// One queue, from which all workers accept: a unix socket can do no other, and a TCP socket that
/// somebody else has bound cannot be given sisters with SO_REUSEPORT.
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
    // Again, for a queue as long as that of our own sockets.
    socket.listen(BACKLOG)?;
    (0..workers).map(|_| Ok(socket.try_clone()?.into())).collect()
}
