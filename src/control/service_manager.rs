//! Notifies the service manager (`sd_notify(3)`): systemd units of Type=notify and notify-reload wait
//! for it, and `systemctl status` shows it. Without NOTIFY_SOCKET this does nothing.
//!
//! Our own code: the crate sd-notify 0.5 cannot send to abstract sockets, blocks for as long as the
//! manager does not read, and holds EXTEND_TIMEOUT_USEC in 32 bits, 71 minutes.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::join::join_by;

/// How long sending a message may take. A service manager that is not busy reads it at once.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Messages that can wait while one is being sent.
const QUEUED_MESSAGES: usize = 16;

/// How long the exit may take after the drain: the last records, the workers' threads, the access
/// logs' writers and the last lines of the program's log.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The service manager, if there is one. A thread of its own sends the messages in order, so that
/// nothing else waits for it.
pub(super) struct ServiceManager(Option<NotifyThread>);

struct NotifyThread {
    messages: SyncSender<String>,
    thread: JoinHandle<()>,
}

impl ServiceManager {
    pub(super) fn from_env() -> Self {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let (messages, queue) = sync_channel(QUEUED_MESSAGES);
        let name = "notify".to_owned();
        match thread::Builder::new().name(name).spawn(move || send_all(&socket, &queue)) {
            Ok(thread) => Self(Some(NotifyThread { messages, thread })),
            Err(error) => {
                tracing::error!(%error, "cannot start the thread that notifies the service manager");
                Self(None)
            }
        }
    }

    /// The proxy serves clients; also ends [`Self::reloading`].
    pub(super) fn ready(&self, status: &str) {
        self.send(format!("READY=1\nSTATUS={status}\n"));
    }

    /// The configuration is being read again, until [`Self::ready`].
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading\n"));
    }

    /// The shutdown has begun and may take all of `drain`, even beyond the unit's TimeoutStopSec.
    pub(super) fn stopping(&self, drain: Duration) {
        let micros = (drain + EXIT_TIMEOUT).as_micros();
        self.send(format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=Draining\n"));
    }

    /// The progress of a drain: the connections that are left.
    pub(super) fn draining(&self, connections: u32) {
        self.send(format!("STATUS=Draining, connections left: {connections}\n"));
    }

    fn send(&self, message: String) {
        let Some(thread) = &self.0 else { return };
        if thread.messages.try_send(message).is_err() {
            tracing::warn!("cannot notify the service manager: it does not read its socket");
        }
    }
}

impl Drop for ServiceManager {
    /// Gives the last message time to be sent.
    fn drop(&mut self) {
        if let Some(NotifyThread { messages, thread }) = self.0.take() {
            drop(messages);
            let _ = join_by(thread, Instant::now() + SEND_TIMEOUT);
        }
    }
}

fn send_all(socket: &OsString, messages: &Receiver<String>) {
    for message in messages {
        if let Err(error) = send_to(socket, &message) {
            tracing::warn!(?socket, %error, "cannot notify the service manager");
        }
    }
}

fn send_to(socket: &OsStr, message: &str) -> io::Result<()> {
    // A name that begins with @ is in the abstract namespace, not a file.
    let to = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(SEND_TIMEOUT))?;
    sender.send_to_addr(message.as_bytes(), &to)?;
    Ok(())
}
