//! What one process hands over, and how the next one takes it, at the moment between the two.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};

use super::{
    new_process::Failure,
    state::{Handed, HandedSockets, from_part, part},
    taker::Takeover,
};
use crate::{
    admin::{AdminMode, AdminThread},
    control::{descriptors::check_room, proxy::Proxy},
    listener::{HandedTickets, Listener, PreviousListener},
    secret_bytes::SecretBytes,
    upgrade::{
        HandedAdminListener, HandedInheritedSocket, HandedListener, HandedSession, ProcessState,
        encode_secret,
    },
    worker::Worker,
};

/// How long to wait for workers that are too busy to answer at once.
const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// Which process accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    This,
    /// None: the other one is told to, or has just been.
    Neither,
}

/// Starts or stops accepting, and waits until the workers have.
pub(super) async fn set_accepting(
    proxy: &Proxy,
    admin: Option<&AdminThread>,
    accepting: Accepting,
) {
    let (pending, mut done) = mpsc::channel(1);
    let accepts = accepting == Accepting::This;
    proxy.workers.iter().for_each(|worker| worker.accept(accepts, pending.clone()));
    drop(pending);
    if let Some(admin) = admin {
        admin.set_mode(if accepts { AdminMode::Accepting } else { AdminMode::Stopped });
    }
    // A worker that is late does it after its turn; both processes then accept for a moment.
    let _ = timeout(WORKER_TIMEOUT, done.recv()).await;
}

/// What the new process gets before it is ready.
///
/// # Errors
/// If the sockets cannot be duplicated.
pub(super) async fn collect(proxy: &Proxy, admin: Option<&AdminThread>) -> Result<Handed, Failure> {
    let sockets = HandedSockets {
        listeners: listeners(proxy).await?,
        inherited: inherited(proxy)?,
        admin: admin.map(|admin| admin_listener(proxy, admin)).transpose()?.flatten(),
    };
    Ok(Handed { sockets, state: Box::new(state(proxy)?) })
}

fn cannot_share(error: &std::io::Error) -> Failure {
    format!("cannot share the listening sockets: {error}")
}

async fn listeners(proxy: &Proxy) -> Result<(Vec<HandedListener>, Vec<OwnedFd>), Failure> {
    let mut by_listener = shared_sockets(&proxy.workers).await?;
    let (mut listeners, mut descriptors) = (Vec::new(), Vec::new());
    for listener in proxy.listeners.open() {
        let sockets = by_listener.extract_if(.., |(id, _)| *id == listener.id);
        let sockets = sockets.map(|(_, socket)| socket).collect();
        if listener.inherited().is_some() {
            continue;
        }
        let (name, bind) = (listener.settings().name.to_string(), listener.configured_bind());
        let own = PreviousListener::new(name, bind.to_string(), sockets)
            .map_err(|error| cannot_share(&error))?;
        listeners.push(HandedListener {
            name: own.name,
            bind: own.bind,
            descriptors: own.sockets.len() as u16,
        });
        descriptors.extend(own.sockets);
    }
    Ok((listeners, descriptors))
}

fn inherited(proxy: &Proxy) -> Result<(Vec<HandedInheritedSocket>, Vec<OwnedFd>), Failure> {
    let sockets = proxy.listeners.inherited().duplicates().map_err(|error| cannot_share(&error))?;
    let sockets = sockets.into_iter();
    Ok(sockets.map(|(name, it)| (HandedInheritedSocket { name, descriptors: 1 }, it)).unzip())
}

fn admin_listener(
    proxy: &Proxy,
    admin: &AdminThread,
) -> Result<Option<(HandedAdminListener, Vec<OwnedFd>)>, Failure> {
    let snapshot = proxy.current.load();
    let Some(config) = &snapshot.config.admin else { return Ok(None) };
    let socket = admin.share_socket().map_err(|error| cannot_share(&error))?;
    let bind = config.bind.to_string();
    Ok(socket.map(|socket| (HandedAdminListener { bind, descriptors: 1 }, vec![socket])))
}

fn state(proxy: &Proxy) -> Result<ProcessState, Failure> {
    let (now, snapshot) = (Instant::now(), proxy.current.load());
    let pools: Vec<_> = snapshot.pools.iter().filter_map(|pool| pool.hand_over(now)).collect();
    let shares: Vec<_> = snapshot.listeners.iter().flat_map(|it| it.hand_over_shares()).collect();
    Ok(ProcessState {
        broker_states: part(&pools)?,
        rule_percents: part(&shares)?,
        bans: part(&proxy.limiter.rates.bans.hand_over(now))?,
        session_ids: part(&proxy.run_ids)?,
        ticket_keys: ticket_keys(&snapshot.listeners)?,
        descriptors: u64::from(proxy.limiter.open()) * HandedSession::DESCRIPTORS as u64,
    })
}

fn ticket_keys(listeners: &[Arc<Listener>]) -> Result<SecretBytes, Failure> {
    let tickets: Vec<_> = listeners.iter().filter_map(|it| it.hand_over_tickets()).collect();
    let bytes = tickets.iter().map(HandedTickets::max_bytes).sum::<usize>() + 16;
    encode_secret(&tickets, bytes).map_err(|error| format!("cannot encode ticket keys: {error}"))
}

/// Duplicates of the listening sockets, in the order of the workers.
async fn shared_sockets(workers: &[Worker]) -> Result<Vec<(u64, OwnedFd)>, Failure> {
    let (reply, mut replies) = mpsc::unbounded_channel();
    for worker in workers {
        worker.share_sockets(reply.clone());
    }
    drop(reply);
    let mut by_worker = Vec::new();
    let all = async {
        while let Some(reply) = replies.recv().await {
            by_worker.push(reply);
        }
    };
    let late = |_| "a worker did not share its listening sockets in time".to_owned();
    timeout(WORKER_TIMEOUT, all).await.map_err(late)?;
    if by_worker.len() != workers.len() {
        return Err("a worker has ended".to_owned());
    }
    by_worker.sort_unstable_by_key(|(index, _)| *index);
    let mut sockets = Vec::new();
    for (_, shared) in by_worker {
        sockets.extend(shared.map_err(|error| cannot_share(&error))?);
    }
    Ok(sockets)
}

/// Takes the state of the process before an upgrade over, and accepts once it no longer does.
///
/// # Errors
/// If that process has ended or has given up. It then carries on.
pub(in crate::control) async fn begin_serving(
    takeover: &mut Takeover,
    proxy: &Proxy,
    admin: Option<&AdminThread>,
) -> anyhow::Result<()> {
    check_room(takeover.state().descriptors).map_err(anyhow::Error::msg)?;
    take_state(takeover.state(), proxy)?;
    takeover.ready(&proxy.metrics).await?;
    // From here on this process has to accept: the one before does not, unless this one ends.
    proxy.listeners.own_files();
    if let Some(admin) = admin {
        admin.own_file(true);
    }
    set_accepting(proxy, admin, Accepting::This).await;
    let (pid, version) = (takeover.pid, &*takeover.version);
    tracing::info!(pid, version, "upgraded: took over from the process before, and accepting");
    Ok(())
}

fn take_state(state: &ProcessState, proxy: &Proxy) -> anyhow::Result<()> {
    let now = Instant::now();
    let ProcessState { broker_states, rule_percents, bans, ticket_keys, .. } = state;
    let bans: Vec<_> = from_part("bans", bans)?;
    let pools: Vec<_> = from_part("broker states", broker_states)?;
    let shares: Vec<_> = from_part("rule percents", rule_percents)?;
    let tickets: Vec<_> = from_part("ticket keys", &ticket_keys.0)?;
    proxy.limiter.rates.bans.take_over(&bans, now);
    let snapshot = proxy.current.load_full();
    snapshot.pools.iter().for_each(|pool| pool.take_over(&pools, now));
    for listener in &snapshot.listeners {
        listener.take_over_shares(&shares);
        listener.take_over_tickets(&tickets);
    }
    Ok(())
}
