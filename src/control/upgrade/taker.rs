//! The side of the new process: it starts up with what the process before the upgrade hands over,
//! and accepts once it is told to.

use std::{env, time::Duration};

use anyhow::{Context, anyhow, bail};
use tokio::time::timeout;

use super::state::{Handed, HandedSockets, TakenSockets, from_part};
use crate::{
    admin::PreviousProcess,
    metrics::Metrics,
    upgrade::{
        ENVIRONMENT, ProcessState, Receiver, Sender, ToNew, ToOld, VERSIONS, connect, from_stdin,
    },
};

/// How long the process before the upgrade may take to send what it hands over, and to tell this
/// one to accept.
const PREVIOUS_TIMEOUT: Duration = Duration::from_secs(30);

/// What the process before the upgrade has handed over.
pub(in crate::control) struct Takeover {
    pub(super) sender: Sender<ToOld>,
    pub(super) receiver: Receiver<ToNew>,
    pub(super) pid: u32,
    pub(super) version: String,
    handed: Handed,
}

impl Takeover {
    /// Takes over from the process before an upgrade; `None` if there is none.
    ///
    /// # Errors
    /// If what it sends cannot be used. It then carries on.
    pub(in crate::control) async fn receive() -> anyhow::Result<Option<Self>> {
        if env::var_os(ENVIRONMENT).is_none() {
            return Ok(None);
        }
        let connected = from_stdin().and_then(connect);
        let (mut sender, mut receiver) = connected.with_context(|| {
            format!("{ENVIRONMENT} is set, but standard input is not a socket of another mqtt-lb")
        })?;
        let received = timeout(PREVIOUS_TIMEOUT, receive(&mut sender, &mut receiver)).await;
        let silent = |_| anyhow!("the process before the upgrade does not answer");
        let (pid, version, handed) = received.map_err(silent)??;
        Ok(Some(Self { sender, receiver, pid, version, handed }))
    }

    /// Takes the listening sockets out.
    ///
    /// # Errors
    /// If they are not listening sockets.
    pub(in crate::control) fn take_sockets(&mut self) -> anyhow::Result<TakenSockets> {
        std::mem::take(&mut self.handed.sockets).take()
    }

    pub(super) fn state(&self) -> &ProcessState {
        &self.handed.state
    }

    /// The first 16 bits of the session IDs of the processes before.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(in crate::control) fn run_ids(&self) -> anyhow::Result<Vec<u16>> {
        from_part("session IDs", &self.handed.state.session_ids)
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
    pub(super) async fn ready(&mut self, metrics: &Metrics) -> anyhow::Result<()> {
        self.sender.send(&ToOld::Ready, &[]).await?;
        let go = async {
            loop {
                match next(&mut self.receiver).await? {
                    ToNew::Totals(totals) => metrics.add_totals(&from_part("totals", &totals)?),
                    ToNew::Go => return Ok(()),
                    other => bail!("unexpected message before this process may accept: {other:?}"),
                }
            }
        };
        let went = timeout(PREVIOUS_TIMEOUT, go).await;
        went.map_err(|_| anyhow!("the process before the upgrade does not answer"))?
            .context("the process before the upgrade carries on")
    }
}

async fn next(receiver: &mut Receiver<ToNew>) -> anyhow::Result<ToNew> {
    let ended = || anyhow!("the process before the upgrade has closed the hand-over");
    Ok(receiver.next().await?.ok_or_else(ended)?.0)
}

async fn receive(
    sender: &mut Sender<ToOld>,
    receiver: &mut Receiver<ToNew>,
) -> anyhow::Result<(u32, String, Handed)> {
    let ToNew::Hello { versions, program, pid } = next(receiver).await? else {
        bail!("the process before the upgrade does not begin with its version");
    };
    let Some(version) = VERSIONS.newest_in_common(versions) else {
        let why = format!(
            "version {program} hands over in versions {} to {}, this one in {} to {}: restart",
            versions.min, versions.max, VERSIONS.min, VERSIONS.max
        );
        let _ = sender.send(&ToOld::Failed { why: why.clone() }, &[]).await;
        bail!(why);
    };
    sender.send(&ToOld::Hello { version }, &[]).await?;
    let mut sockets = HandedSockets::default();
    loop {
        let ended = || anyhow!("the process before the upgrade has closed the hand-over");
        let (message, descriptors) = receiver.next().await?.ok_or_else(ended)?;
        match message {
            ToNew::Listeners(listeners) => sockets.listeners = (listeners, descriptors),
            ToNew::InheritedSockets(inherited) => sockets.inherited = (inherited, descriptors),
            ToNew::AdminListener(admin) => sockets.admin = Some((admin, descriptors)),
            ToNew::State(state) => return Ok((pid, program, Handed { sockets, state })),
            other => bail!("unexpected message before the state: {other:?}"),
        }
    }
}
