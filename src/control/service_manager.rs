//! What the service manager is told (`sd_notify(3)`): systemd units of Type=notify and notify-reload
//! wait for it, and `systemctl status` shows it. Without NOTIFY_SOCKET nobody is told anything.

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

/// How long a message may wait for a service manager that is busy; it reads them at once otherwise.
const PATIENCE: Duration = Duration::from_secs(1);

/// Messages that wait for one that is being sent.
const QUEUE: usize = 16;

/// What the end takes beyond the drain: the last records, the workers' threads, the access logs'
/// writers and the last lines of the program's log.
const FAREWELL: Duration = Duration::from_secs(20);

/// The service manager, if there is one. Messages are sent in their order by a thread of their own,
/// which alone waits for it.
pub(super) struct ServiceManager(Option<Messenger>);

struct Messenger {
    messages: SyncSender<String>,
    thread: JoinHandle<()>,
}

impl ServiceManager {
    pub(super) fn from_env() -> Self {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let (messages, queue) = sync_channel(QUEUE);
        let name = "notify".to_owned();
        match thread::Builder::new().name(name).spawn(move || send_all(&socket, &queue)) {
            Ok(thread) => Self(Some(Messenger { messages, thread })),
            Err(error) => {
                tracing::error!(%error, "cannot tell the service manager anything");
                Self(None)
            }
        }
    }

    /// Serving, with the configuration as it is now; ends a [`Self::reloading`] too.
    pub(super) fn ready(&self, status: &str) {
        self.tell(format!("READY=1\nSTATUS={status}\n"));
    }

    /// The configuration is being read again, until [`Self::ready`].
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading\n"));
    }

    /// The end has begun and may take the whole `drain`, whatever the unit's TimeoutStopSec says.
    pub(super) fn stopping(&self, drain: Duration) {
        let micros = (drain + FAREWELL).as_micros();
        self.tell(format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=Draining\n"));
    }

    /// How many connections a drain has left.
    pub(super) fn draining(&self, connections: u32) {
        self.tell(format!("STATUS=Draining, connections left: {connections}\n"));
    }

    fn tell(&self, message: String) {
        let Some(messenger) = &self.0 else { return };
        if messenger.messages.try_send(message).is_err() {
            tracing::warn!("cannot tell the service manager: it reads nothing");
        }
    }
}

impl Drop for ServiceManager {
    /// The last message has its chance to be sent.
    fn drop(&mut self) {
        if let Some(Messenger { messages, thread }) = self.0.take() {
            drop(messages);
            let _ = join_by(thread, Instant::now() + PATIENCE);
        }
    }
}

fn send_all(socket: &OsString, messages: &Receiver<String>) {
    for message in messages {
        if let Err(error) = send(socket, &message) {
            tracing::warn!(?socket, %error, "cannot tell the service manager");
        }
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
