//! Messages to the service manager (`sd_notify(3)`): systemd units of Type=notify and notify-reload
//! wait for them, and `systemctl status` shows them. Without NOTIFY_SOCKET none is sent.
//!
//! The `sd-notify` crate (0.5) does not support abstract sockets, which container managers use, has
//! no timeout for a manager that does not read, and limits EXTEND_TIMEOUT_USEC to 32 bits of
//! microseconds, which a drain of more than 71 minutes exceeds.

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
    process,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::join::join_by;

/// How long sending a message may take; a service manager usually reads it at once.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The most messages that wait while one is sent.
const MAX_QUEUED_MESSAGES: usize = 16;

/// The time needed after the drain: for the last records, the workers' threads, the access logs'
/// writers and the last lines of the program log.
const SHUTDOWN_TIME: Duration = Duration::from_secs(20);

/// What of the configuration has been refused and is not in use; the log has the reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// The last reload.
    pub(super) reload: bool,
    /// Files that the configuration in force names and that have changed since they were read.
    pub(super) files: bool,
}

impl Refused {
    /// The status that the service manager shows while the proxy serves.
    fn status(self) -> &'static str {
        match (self.reload, self.files) {
            (false, false) => "Serving",
            (true, false) => "Serving; the last reload was refused, see the log",
            (false, true) => "Serving; changed files were refused, see the log",
            (true, true) => "Serving; the last reload and changed files were refused, see the log",
        }
    }
}

/// The service manager, if there is one. A separate thread sends the messages in order, so nothing
/// else waits for it.
pub(super) struct ServiceManager {
    messenger: Option<Messenger>,
    /// Another process is the main process.
    is_silent: bool,
}

struct Messenger {
    messages: SyncSender<String>,
    thread: JoinHandle<()>,
}

impl ServiceManager {
    pub(super) fn from_env() -> Self {
        let none = Self { messenger: None, is_silent: false };
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return none };
        let (messages, queue) = sync_channel(MAX_QUEUED_MESSAGES);
        let name = "notify".to_owned();
        match thread::Builder::new().name(name).spawn(move || send_all(&socket, &queue)) {
            Ok(thread) => Self { messenger: Some(Messenger { messages, thread }), ..none },
            Err(error) => {
                tracing::error!(%error, "cannot start the thread that notifies the service manager");
                none
            }
        }
    }

    /// Reports that the proxy serves with the configuration in force. Also ends
    /// [`Self::reloading`].
    pub(super) fn ready(&self, refused: Refused) {
        self.queue(format!("READY=1\nSTATUS={}\n", refused.status()));
    }

    /// Reports that the proxy serves after an upgrade, and how many connections are left with the
    /// process before. That process has to have named this one as the main process: messages of
    /// others are not read.
    pub(super) fn taken_over(&self, refused: Refused, left: u64) {
        let status = refused.status();
        if left == 0 {
            return self.ready(refused);
        }
        self.queue(format!(
            "READY=1\nSTATUS={status}; connections left with the process before the upgrade: {left}\n"
        ));
    }

    /// Reports what is refused while the proxy serves.
    pub(super) fn serving(&self, refused: Refused) {
        self.queue(format!("STATUS={}\n", refused.status()));
    }

    /// Reports that a reload is in progress, until [`Self::ready`].
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.queue(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading\n"));
    }

    /// Reports that the proxy shuts down, which may take the whole `drain`, whatever the unit's
    /// TimeoutStopSec is.
    pub(super) fn stopping(&self, drain: Duration) {
        let micros = (drain + SHUTDOWN_TIME).as_micros();
        self.queue(format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=Draining\n"));
    }

    /// Reports that another process is the service's main process from now on, and nothing more: what
    /// it reports is what counts.
    pub(super) fn hand_over(&mut self, pid: u32) {
        self.queue(format!("MAINPID={pid}\n"));
        self.is_silent = true;
    }

    /// Reports that this process is the main process again, because the one after it has ended.
    pub(super) fn take_back(&mut self, refused: Refused) {
        self.is_silent = false;
        self.queue(format!("MAINPID={}\n", process::id()));
        self.ready(refused);
    }

    /// As [`Self::take_back`], but this process only ends, so that its failure has the service manager
    /// restart the proxy. Returns false if there is no service manager.
    pub(super) fn take_back_to_fail(&mut self) -> bool {
        self.is_silent = false;
        self.queue(format!("MAINPID={}\nSTATUS=Ending, to be restarted\n", process::id()));
        self.messenger.is_some()
    }

    /// Reports a drain's progress.
    pub(super) fn draining(&self, connections: u64) {
        self.queue(format!("STATUS=Draining, connections left: {connections}\n"));
    }

    fn queue(&self, message: String) {
        let Some(messenger) = self.messenger.as_ref().filter(|_| !self.is_silent) else { return };
        if messenger.messages.try_send(message).is_err() {
            tracing::warn!("cannot notify the service manager: it does not read its messages");
        }
    }
}

impl Drop for ServiceManager {
    /// Waits for the last message to be sent.
    fn drop(&mut self) {
        if let Some(Messenger { messages, thread }) = self.messenger.take() {
            drop(messages);
            let _ = join_by(thread, Instant::now() + SEND_TIMEOUT);
        }
    }
}

fn send_all(socket: &OsString, messages: &Receiver<String>) {
    for message in messages {
        if let Err(error) = send(socket, &message) {
            tracing::warn!(?socket, %error, "cannot notify the service manager");
        }
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
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
