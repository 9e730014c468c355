//! What the service manager is told (`sd_notify(3)`): systemd units of Type=notify and notify-reload
//! wait for it, and `systemctl status` shows it. Without NOTIFY_SOCKET nobody is told anything.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// How long a message may wait for a service manager that is busy; it reads them at once otherwise.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the end takes beyond the drain: the last records, and the access logs' writers.
const FAREWELL: Duration = Duration::from_secs(15);

/// Serving, with the configuration as it is now; ends a [`reloading`] too.
pub(super) fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}\n"));
}

/// The configuration is being read again, until [`ready`].
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading\n"));
}

/// The end has begun and may take the whole `drain`, whatever the unit's TimeoutStopSec says.
pub(super) fn stopping(drain: Duration) {
    let micros = (drain + FAREWELL).as_micros();
    tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=Draining\n"));
}

/// How many connections a drain has left.
pub(super) fn draining(connections: u32) {
    tell(&format!("STATUS=Draining, connections left: {connections}\n"));
}

fn tell(message: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message) {
        tracing::warn!(?socket, %error, "cannot tell the service manager");
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    // A name that begins with @ is in the abstract namespace, and no file.
    let to = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(message.as_bytes(), &to)?;
    Ok(())
}
