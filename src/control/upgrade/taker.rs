//! The side of the new process: it starts up with what the process before the upgrade hands over,
//! and accepts once it is told to.

use std::{
    env, io, mem,
    os::{fd::AsFd, fd::OwnedFd, unix::net::UnixStream},
    process,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use rustix::stdio::dup2_stdin;
use tokio::time::timeout;

use super::{
    giver::PROTOCOL_VERSION,
    spawn::UPGRADE_VARIABLE,
    state::{ListenerSockets, Listening, ProcessState, Sockets},
    wire::{Connection, Message},
};
use crate::{
    admin::PreviousProcess,
    listener::{HandedListener, HandedListeners, InheritedSockets},
    metrics::Metrics,
};

/// How long the process before the upgrade may take to send what it hands over, and to tell this
/// one to accept.
const PREVIOUS_TIMEOUT: Duration = Duration::from_secs(30);

/// What the process before the upgrade has handed over.
pub(in crate::control) struct Takeover {
    connection: Connection,
    pub(in crate::control) pid: u32,
    pub(in crate::control) version: String,
    pub(in crate::control) sockets: Sockets,
    pub(in crate::control) state: Box<ProcessState>,
}

/// Takes over from the process before an upgrade; `None` if there is none.
///
/// # Errors
/// If what it sends cannot be used. It then carries on.
pub(in crate::control) async fn take_over() -> anyhow::Result<Option<Takeover>> {
    if env::var_os(UPGRADE_VARIABLE).is_none() {
        return Ok(None);
    }
    let stream = take_stdin().with_context(|| {
        format!("{UPGRADE_VARIABLE} is set, but standard input is not a socket of another mqtt-lb")
    })?;
    let mut connection = Connection::new(stream)?;
    let receive = receive(&mut connection);
    let received = timeout(PREVIOUS_TIMEOUT, receive).await;
    let (pid, version, sockets, state) =
        received.map_err(|_| anyhow!("the process before the upgrade does not answer"))??;
    Ok(Some(Takeover { connection, pid, version, sockets, state }))
}

/// Takes the socket, and leaves `/dev/null` in its place.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::net::sockopt::socket_type(&socket)?;
    let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
    dup2_stdin(&null)?;
    Ok(socket.into())
}

async fn receive(
    connection: &mut Connection,
) -> anyhow::Result<(u32, String, Sockets, Box<ProcessState>)> {
    let hello = Message::Hello {
        version: PROTOCOL_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        pid: process::id(),
    };
    let (Message::Hello { version, program, pid }, _) = connection.receive().await? else {
        bail!("the process before the upgrade does not begin with its version");
    };
    connection.send(&hello, &[]).await?;
    if version != PROTOCOL_VERSION {
        bail!("the process before the upgrade speaks version {version} of the hand-over");
    }
    let (Message::Listening(listening), descriptors) = connection.receive().await? else {
        bail!("the process before the upgrade does not send its listening sockets");
    };
    let (Message::State(state), _) = connection.receive().await? else {
        bail!("the process before the upgrade does not send its state");
    };
    Ok((pid, program, Sockets { listening, descriptors }, state))
}

/// The sockets that the process before the upgrade has handed over.
pub(in crate::control) struct TakenSockets {
    pub(in crate::control) listeners: HandedListeners,
    pub(in crate::control) inherited: InheritedSockets,
    /// The admin listener's address in the configuration, and its socket.
    pub(in crate::control) admin: Option<(String, OwnedFd)>,
}

impl Takeover {
    /// Takes the listening sockets out.
    ///
    /// # Errors
    /// If there are fewer descriptors than promised, or others than listening sockets.
    pub(in crate::control) fn take_sockets(&mut self) -> anyhow::Result<TakenSockets> {
        let Sockets { listening, descriptors } = mem::take(&mut self.sockets);
        let Listening { listeners, inherited, admin } = listening;
        let mut descriptors = descriptors.into_iter();
        let mut take = |count| {
            let taken: Vec<_> = descriptors.by_ref().take(count).collect();
            let missing = "the process before the upgrade has sent too few sockets";
            if taken.len() == count { Ok(taken) } else { Err(anyhow!(missing)) }
        };
        let listeners = listeners.into_iter().map(|ListenerSockets { name, bind, descriptors }| {
            Ok(HandedListener::new(name, bind, take(descriptors)?)?)
        });
        let listeners = HandedListeners(listeners.collect::<anyhow::Result<_>>()?);
        let sockets = take(inherited.len())?;
        let inherited = InheritedSockets::handed(inherited.into_iter().zip(sockets).collect())?;
        let admin = match admin {
            Some(bind) => take(1)?.pop().map(|socket| (bind, socket)),
            None => None,
        };
        Ok(TakenSockets { listeners, inherited, admin })
    }

    /// The process before the upgrade, for the API.
    pub(in crate::control) fn process(&self) -> PreviousProcess {
        let Self { pid, version, .. } = self;
        PreviousProcess { pid: *pid, version: version.clone(), ..PreviousProcess::default() }
    }

    /// Tells that this process is ready, and waits until it may accept.
    ///
    /// # Errors
    /// If the process before the upgrade has ended, or has given up.
    pub(in crate::control) async fn ready(&mut self, metrics: &Metrics) -> anyhow::Result<()> {
        self.connection.send(&Message::Ready, &[]).await?;
        let go = async {
            loop {
                match self.connection.receive().await? {
                    (Message::Totals(totals), _) => metrics.add_totals(&totals),
                    (Message::Go, _) => return Ok(()),
                    (other, _) => {
                        bail!("unexpected message before this process may accept: {other:?}")
                    }
                }
            }
        };
        let went = timeout(PREVIOUS_TIMEOUT, go).await;
        went.map_err(|_| anyhow!("the process before the upgrade does not answer"))?
            .context("the process before the upgrade carries on")
    }

    /// Tells that this process accepts.
    ///
    /// # Errors
    /// If the process before the upgrade has ended.
    pub(in crate::control) async fn accepting(&self) -> io::Result<()> {
        self.connection.send(&Message::Accepting, &[]).await
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }
}
