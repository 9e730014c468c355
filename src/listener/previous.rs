//! Listening sockets of the process before an upgrade.

use std::{io, iter, os::fd::OwnedFd};

use rustix::fs::fstat;
use socket2::Socket;

use super::{bind_error::BindError, bound::BoundListener, inherited::local_address};
use crate::{
    config::{self, Bind},
    net::TcpOptions,
};

/// The sockets of a listener of the process before an upgrade.
#[derive(Debug)]
pub(crate) struct PreviousListener {
    pub(crate) name: String,
    /// The address in its configuration.
    pub(crate) bind: String,
    /// One per queue: workers that share a queue need one socket only.
    pub(crate) sockets: Vec<OwnedFd>,
}

/// The listeners of the process before an upgrade. The files of their unix sockets belong to it
/// until [`Listener::own_file`](super::Listener::own_file).
#[derive(Debug, Default)]
pub(crate) struct PreviousListeners(pub(crate) Vec<PreviousListener>);

impl PreviousListener {
    /// `sockets` may contain duplicates of one socket.
    ///
    /// # Errors
    /// As fstat(2).
    pub(crate) fn new(name: String, bind: String, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let mut known = Vec::with_capacity(sockets.len());
        let mut distinct = Vec::with_capacity(sockets.len());
        for socket in sockets {
            // The inode number of a socket identifies it, whatever the descriptor.
            let inode = fstat(&socket)?.st_ino;
            if !known.contains(&inode) {
                known.push(inode);
                distinct.push(socket);
            }
        }
        Ok(Self { name, bind, sockets: distinct })
    }
}

impl PreviousListeners {
    /// The sockets for `listener`: those of the same address in the configuration, and, if the
    /// kernel has chosen the port, of the same name. At least one for each of `workers` workers.
    /// `None` if the listener has to be bound.
    ///
    /// # Errors
    /// If the sockets cannot be used.
    pub(super) fn find_and_share(
        &self,
        listener: &config::Listener,
        workers: usize,
        options: TcpOptions,
    ) -> io::Result<Option<BoundListener>> {
        let is_any = matches!(listener.bind, Bind::Tcp(address) if address.port() == 0);
        let bind = listener.bind.to_string();
        let is_it = |handed: &&PreviousListener| {
            handed.bind == bind && (!is_any || handed.name == *listener.name)
        };
        let Some(handed) = self.0.iter().find(is_it) else { return Ok(None) };
        let Some(first) = handed.sockets.first() else { return Ok(None) };
        let bind = local_address(&Socket::from(first.try_clone()?))?;
        let mut sockets = Vec::new();
        // Workers beyond the number of queues share one: a further socket of the same port would
        // get connections before it is certain that this process accepts.
        let shared = iter::repeat_with(|| &handed.sockets).flatten();
        for socket in shared.take(workers.max(handed.sockets.len())) {
            let socket = socket.try_clone()?;
            if matches!(bind, Bind::Tcp(_)) {
                options.apply(&socket)?;
            }
            sockets.push(socket);
        }
        Ok(Some(BoundListener { bind, sockets, inherited: None, file: None }))
    }

    /// As [`Self::find_and_share`].
    ///
    /// # Errors
    /// If the sockets cannot be used.
    pub(crate) fn listening(
        &self,
        listener: &config::Listener,
        workers: usize,
        options: TcpOptions,
    ) -> Result<Option<BoundListener>, BindError> {
        let shared = self.find_and_share(listener, workers, options);
        shared.map_err(|error| BindError::new(listener, &listener.bind, error))
    }
}
