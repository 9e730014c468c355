//! The socket options with which TCP detects that a peer has vanished.

use std::{os::fd::AsFd, time::Duration};

use rustix::net::sockopt;

use crate::config::{TcpKeepalive, TcpUserTimeout, Timeouts};

/// How long sent bytes may stay unacknowledged by brokers, if `tcp_user_timeout` is automatic.
/// Their network loses few packets, and their clients can go to other brokers.
const MAX_BROKER_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The socket options of one side's connections.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    keepalive: TcpKeepalive,
    /// RFC 5482; in whole milliseconds.
    user_timeout: Duration,
}

impl TcpOptions {
    /// With a user timeout, Linux ends a silent connection at the first probe that is lost after
    /// it, whatever the count (`tcp_keepalive_timer`). Networks of devices lose packets, so an
    /// automatic user timeout is as long as all probes take.
    pub fn towards_clients(timeouts: &Timeouts) -> Self {
        Self::new(timeouts, Duration::MAX)
    }

    pub fn towards_brokers(timeouts: &Timeouts) -> Self {
        Self::new(timeouts, MAX_BROKER_USER_TIMEOUT)
    }

    fn new(timeouts: &Timeouts, max_auto: Duration) -> Self {
        let keepalive = timeouts.tcp_keepalive;
        let user_timeout = match timeouts.tcp_user_timeout {
            TcpUserTimeout::Auto => keepalive.found_after().min(max_auto),
            TcpUserTimeout::After(timeout) => timeout,
        };
        Self { keepalive, user_timeout }
    }

    /// Sets the options. Sockets accepted from a listener inherit them.
    pub fn apply(self, fd: impl AsFd) -> rustix::io::Result<()> {
        let fd = fd.as_fd();
        let TcpKeepalive { idle, interval, count } = self.keepalive;
        sockopt::set_socket_keepalive(fd, true)?;
        sockopt::set_tcp_keepidle(fd, idle)?;
        sockopt::set_tcp_keepintvl(fd, interval)?;
        sockopt::set_tcp_keepcnt(fd, count.into())?;
        // The kernel takes an `int`.
        let millis = self.user_timeout.as_millis().min(i32::MAX as u128);
        sockopt::set_tcp_user_timeout(fd, millis as u32)
    }
}
