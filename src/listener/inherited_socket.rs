//! A socket that the service manager has passed to this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::Socket;

use crate::config::Bind;

/// A socket that the service manager listens on.
#[derive(Debug)]
pub struct InheritedSocket {
    /// FileDescriptorName= of the socket unit; by default the unit's name.
    pub(super) name: String,
    pub(super) address: Bind,
    pub(super) socket: Socket,
}

impl InheritedSocket {
    /// Whether the socket is bound to `[::]` and also accepts the clients of 0.0.0.0, which it does
    /// unless it is IPv6-only. systemd's `ListenStream=1883` creates such a socket.
    pub(super) fn covers(&self, bind: &Bind) -> bool {
        let (Bind::Tcp(here), Bind::Tcp(wanted)) = (&self.address, bind) else { return false };
        here.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            && wanted.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            && here.port() == wanted.port()
            && self.socket.only_v6().is_ok_and(|only| !only)
    }
}
