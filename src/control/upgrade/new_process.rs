//! The new process, as the one before the upgrade sees it.

use std::{
    env,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::upgrade::{ENVIRONMENT, Error, Receiver, Sender, ToNew, ToOld, VERSIONS, connect, pair};

/// Why an upgrade has failed.
pub(in crate::control) type Failure = String;

/// How long a process may take to end once it has closed its socket, or was killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What sockets the service manager has passed to this process; the new one gets them from it.
const SOCKET_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The new process. It is killed when this is dropped, unless it accepts.
pub(super) struct NewProcess {
    child: Child,
    pid: u32,
    sender: Sender<ToNew>,
    receiver: Receiver<ToOld>,
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
        Ok(Self { child, pid, sender, receiver, version: String::new(), accepts: false })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// It is not killed from now on.
    pub(super) fn set_accepting(&mut self) {
        self.accepts = true;
    }

    /// Agrees on a version.
    pub(super) async fn hello(&mut self) -> Result<(), Failure> {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let hello = ToNew::Hello { versions: VERSIONS, program, pid: process::id() };
        self.send(hello, &[]).await?;
        match self.receive().await? {
            ToOld::Hello { version } if VERSIONS.contains(version) => Ok(()),
            ToOld::Hello { version } => {
                Err(format!("the new process speaks version {version} of the hand-over: restart"))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) async fn send(
        &mut self,
        message: ToNew,
        descriptors: &[OwnedFd],
    ) -> Result<(), Failure> {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match self.sender.send(&message, &descriptors).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.why(Some(error)).await),
        }
    }

    /// Cancel safe.
    pub(super) async fn receive(&mut self) -> Result<ToOld, Failure> {
        match self.receiver.next().await {
            Ok(Some((ToOld::Failed { why }, _))) => Err(why),
            Ok(Some((message, _))) => Ok(message),
            Ok(None) => Err(self.why(None).await),
            Err(error) => Err(self.why(Some(error)).await),
        }
    }

    /// Kills it, so that nothing more is decided.
    pub(super) async fn kill(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.start_kill();
        let _ = timeout(EXIT_TIMEOUT, self.child.wait()).await;
    }

    pub(super) fn unexpected(&self, message: &ToOld) -> Failure {
        format!("process {} has sent an unexpected message: {message:?}", self.pid)
    }

    /// Why the stream has ended: usually the process has.
    async fn why(&mut self, error: Option<Error>) -> Failure {
        let pid = self.pid;
        match (timeout(EXIT_TIMEOUT, self.child.wait()).await, error) {
            (Ok(Ok(status)), _) => {
                format!("the new process has ended: {status}; the log may say why")
            }
            (_, Some(error)) => format!("cannot talk to process {pid}: {error}"),
            (_, None) => format!("process {pid} has closed the hand-over"),
        }
    }
}
