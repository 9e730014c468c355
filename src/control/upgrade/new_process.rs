//! The new process, as the one before the upgrade sees it.

use std::{
    env,
    future::pending,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{self, ExitStatus},
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, Command},
    time::{sleep_until, timeout},
};

use crate::upgrade::{
    ENVIRONMENT, Error, Giver, GiverAction, GiverEvent, Receiver, Sender, ToNew, ToOld, connect,
    pair,
};

/// Why an upgrade has failed.
pub(in crate::control) type Failure = String;

/// A message, with its descriptors.
type Received = (ToOld, Vec<OwnedFd>);

/// How long a process may take to end once it has closed its socket, or was killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What sockets the service manager has passed to this process; the new one gets them from it.
const SOCKET_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The new process. It is killed when this is dropped, unless it accepts.
pub(super) struct NewProcess {
    child: Child,
    pid: u32,
    /// `None` once the hand-over has failed.
    sender: Option<Sender<ToNew>>,
    /// `None` at the end of the stream.
    receiver: Option<Receiver<ToOld>>,
    /// The stream has ended, which is told at this time at the latest.
    closed_by: Option<Instant>,
    has_exited: bool,
    /// Known once it has said hello.
    pub(super) version: String,
    accepts: bool,
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.accepts {
            // Fails only if it has ended.
            let _ = self.child.start_kill();
        }
    }
}

impl NewProcess {
    /// Starts `binary` with the arguments and the environment of this process.
    ///
    /// # Errors
    /// As socketpair(2), fork(2) and execve(2).
    pub(super) fn start(binary: &Path) -> Result<Self, Failure> {
        let failed = |error| format!("cannot start {}: {error}", binary.display());
        let (own, other) = pair().map_err(failed)?;
        let child = {
            // Dropped at once: it holds the other end of the stream, which would never end.
            let mut command = Command::new(binary);
            command.args(env::args_os().skip(1)).env(ENVIRONMENT, "1").stdin(other);
            for variable in SOCKET_VARIABLES {
                command.env_remove(variable);
            }
            command.spawn().map_err(failed)?
        };
        let (sender, receiver) = connect(own).map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            child,
            pid,
            sender: Some(sender),
            receiver: Some(receiver),
            closed_by: None,
            has_exited: false,
            version: String::new(),
            accepts: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// It is not killed from now on.
    pub(super) fn set_accepting(&mut self) {
        self.accepts = true;
    }

    /// Begins the hand-over.
    pub(super) fn giver() -> (Giver, GiverAction) {
        Giver::new(env!("CARGO_PKG_VERSION").to_owned(), process::id(), Instant::now())
    }

    /// # Errors
    /// If the message was not sent whole.
    pub(super) async fn send(
        &mut self,
        message: &ToNew,
        descriptors: &[OwnedFd],
    ) -> Result<(), Failure> {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let Err(error) = sender.send(message, &descriptors).await else { return Ok(()) };
        // Usually it has ended, and how it has says more.
        Err(match timeout(EXIT_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => exited(status),
            _ => format!("cannot write to process {}: {error}", self.pid),
        })
    }

    /// Waits for a message, or for its end. Cancel safe.
    pub(super) async fn next(&mut self) -> GiverEvent {
        loop {
            if self.has_exited && self.closed_by.take().is_some() {
                return GiverEvent::Closed;
            }
            let Self { child, receiver, closed_by, .. } = self;
            let message = async {
                match receiver {
                    Some(receiver) => receiver.next().await,
                    None => pending().await,
                }
            };
            let closed = async {
                match closed_by {
                    Some(by) => sleep_until((*by).into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                received = message => {
                    if let Some(event) = self.received(received) {
                        return event;
                    }
                }
                status = child.wait(), if !self.has_exited => {
                    self.has_exited = true;
                    let pid = self.pid;
                    return GiverEvent::Exited(match status {
                        Ok(status) => exited(status),
                        Err(error) => format!("cannot wait for process {pid}: {error}"),
                    });
                }
                () = closed => {
                    self.closed_by = None;
                    return GiverEvent::Closed;
                }
            }
        }
    }

    /// The event of what was received. `None` at the end of the stream, which is told later:
    /// usually the process ends as well, and how it has ended is told first.
    fn received(&mut self, received: Result<Option<Received>, Error>) -> Option<GiverEvent> {
        match received {
            Ok(Some((message, _))) => {
                if let ToOld::Hello { program, .. } = &message {
                    self.version.clone_from(program);
                }
                Some(GiverEvent::Message(message))
            }
            Ok(None) => {
                self.receiver = None;
                self.closed_by = Some(Instant::now() + EXIT_TIMEOUT);
                None
            }
            Err(error) => {
                self.receiver = None;
                Some(GiverEvent::Unreadable(format!("cannot read from the new process: {error}")))
            }
        }
    }

    pub(super) fn close_sender(&mut self) {
        self.sender = None;
    }

    pub(super) fn kill(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.start_kill();
    }
}

fn exited(status: ExitStatus) -> Failure {
    format!("the new process has ended: {status}; the log may say why")
}
