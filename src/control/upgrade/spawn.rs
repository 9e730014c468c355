//! Starts the new process of an upgrade.

use std::{env, io, os::fd::OwnedFd, os::unix::net::UnixStream, path::Path};

use tokio::process::{Child, Command};

/// Tells the new process that its standard input is the socket of the process before an upgrade.
pub(super) const UPGRADE_VARIABLE: &str = "MQTT_LB_UPGRADE";

/// What sockets the service manager has passed to this process; the new one gets them from it.
const SOCKET_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Starts `binary` with the arguments and the environment of this process. Returns this side of the
/// socket between the two.
///
/// # Errors
/// As socketpair(2), fork(2) and execve(2).
pub(super) fn spawn(binary: &Path) -> io::Result<(Child, UnixStream)> {
    let (own, other) = UnixStream::pair()?;
    let mut command = Command::new(binary);
    command.args(env::args_os().skip(1)).env(UPGRADE_VARIABLE, "1");
    for variable in SOCKET_VARIABLES {
        command.env_remove(variable);
    }
    let child = command.stdin(OwnedFd::from(other)).spawn()?;
    Ok((child, own))
}
