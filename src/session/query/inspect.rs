//! Questions about sessions, asked by another thread and answered by the worker that has them.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::oneshot, task::spawn_local};

use crate::{
    labels::{EndCause, Transport},
    session::{
        active::ActiveSession,
        context::WorkerContext,
        record::Record,
        scan::{Late, visit},
    },
};

/// A session, as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub session: u64,
    /// As the client gave it.
    pub client_id: Box<str>,
    /// What a 5.0 broker named a client that came without an ID.
    pub assigned_client_id: Option<Box<str>>,
    pub username: Option<Box<str>>,
    pub listener: Arc<str>,
    pub transport: Transport,
    /// `None` on a unix socket.
    pub client: Option<SocketAddr>,
    /// 3, 4 or 5.
    pub protocol_version: u8,
    pub pool: Arc<str>,
    pub upstream: Arc<str>,
    /// When its connection was accepted.
    pub connected_at: SystemTime,
    pub duration: Duration,
    /// Seconds.
    pub keep_alive: u16,
    pub clean_start: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl SessionInfo {
    /// Bytes of the texts that a client, or its broker, has chosen.
    pub(in crate::session) fn text(&self) -> usize {
        let len = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        self.client_id.len() + len(&self.assigned_client_id) + len(&self.username)
    }
}

/// Which sessions are meant: those that have all that is given here.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The client's own or the one that it was assigned.
    pub client_id: Option<String>,
    pub username: Option<String>,
    pub upstream: Option<String>,
    pub listener: Option<String>,
    pub pool: Option<String>,
}

/// What a worker can be asked.
pub struct SessionQuery(pub(in crate::session) Kind);

pub(in crate::session) enum Kind {
    /// For sessions by their places, those that are meant; each with its place's order.
    These {
        places: Vec<Place>,
        filter: Arc<Filter>,
        reply: oneshot::Sender<Vec<(usize, SessionInfo)>>,
    },
    /// For those from a slot on, so many at most, and so many bytes of their texts; the last one may
    /// exceed these.
    Some {
        from: usize,
        most: usize,
        most_text: usize,
        filter: Arc<Filter>,
        until: Instant,
        reply: oneshot::Sender<Slice>,
    },
    /// To end a session; tells whether it is there.
    End {
        session: u64,
        cause: EndCause,
        until: Instant,
        reply: oneshot::Sender<Result<bool, Late>>,
    },
}

/// Where a session was a moment ago.
pub(in crate::session) struct Place {
    pub(in crate::session) order: usize,
    pub(in crate::session) session: u64,
    pub(in crate::session) slot: usize,
}

/// Some of a worker's sessions.
#[derive(Default)]
pub(in crate::session) struct Slice {
    pub(in crate::session) seen: Vec<SessionInfo>,
    /// Where to go on: the next one that is meant, or the first that there was no time for.
    pub(in crate::session) next: Option<usize>,
}

/// Answers now, or a little later where many sessions have to be looked at, which is done between
/// what clients want.
pub fn answer_query(context: &Rc<WorkerContext>, question: SessionQuery) {
    let context = context.clone();
    // Whoever asked may not wait any more.
    match question.0 {
        Kind::These { places, filter, reply } => {
            let seen = places.into_iter().filter_map(|Place { order, session, slot }| {
                let seen = context.sessions.with(slot, |live| {
                    let is_meant = live.record.session == session && filter.takes(live);
                    is_meant.then(|| see(&context, live))?
                });
                Some((order, seen??))
            });
            let _ = reply.send(seen.collect());
        }
        Kind::Some { from, most, most_text, filter, until, reply } => {
            spawn_local(async move {
                let _ = reply.send(some(&context, from, (most, most_text), &filter, until).await);
            });
        }
        Kind::End { session, cause, until, reply } => {
            spawn_local(async move {
                let is_it = |live: &ActiveSession| live.record.session == session && live.accepted;
                let end = |_, live: &ActiveSession| is_it(live).then(|| live.end(cause));
                let ended = visit(&context, 0, Some(until), end).await;
                let _ = reply.send(ended.map(|ended| ended.is_some()));
            });
        }
    }
}

async fn some(
    context: &Rc<WorkerContext>,
    from: usize,
    (most, most_text): (usize, usize),
    filter: &Filter,
    until: Instant,
) -> Slice {
    let (mut seen, mut text) = (Vec::new(), 0);
    let one_more = visit(context, from, Some(until), |slot, live| {
        if !filter.takes(live) {
            return None;
        }
        if seen.len() == most || text >= most_text {
            return Some(slot);
        }
        if let Some(one) = see(context, live) {
            text += one.text();
            seen.push(one);
        }
        None
    });
    let next = one_more.await.unwrap_or_else(|Late(slot)| Some(slot));
    Slice { seen, next }
}

impl Filter {
    fn takes(&self, live: &ActiveSession) -> bool {
        let record = &live.record;
        let Some(client) = &record.client else { return false };
        let is = |wanted: &Option<String>, has: Option<&str>| match wanted {
            Some(wanted) => has == Some(wanted),
            None => true,
        };
        live.accepted
            && (is(&self.client_id, Some(client.client_id()))
                || is(&self.client_id, assigned_client_id(live)))
            && is(&self.username, client.username())
            && is(&self.upstream, Some(&live.lease.broker().name))
            && is(&self.listener, Some(&record.origin.name))
            && is(&self.pool, Some(pool_name(record)))
    }
}

/// What is to be told of a session; `None` for one that is none yet.
fn see(context: &WorkerContext, live: &ActiveSession) -> Option<SessionInfo> {
    let record = &live.record;
    let client = record.client.as_ref()?;
    let duration = context.reactor.now().saturating_duration_since(record.accepted);
    Some(SessionInfo {
        session: record.session,
        client_id: client.client_id().into(),
        assigned_client_id: assigned_client_id(live).map(Box::from),
        username: client.username().map(Box::from),
        listener: record.origin.name.clone(),
        transport: record.origin.transport,
        client: record.source.address(),
        protocol_version: client.version.level(),
        pool: pool_name(record).clone(),
        upstream: live.lease.broker().name.clone(),
        connected_at: context
            .reactor
            .wall()
            .checked_sub(duration)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        duration,
        keep_alive: client.keep_alive,
        clean_start: client.clean_start,
        bytes_in: live.tally.bytes_in.get(),
        bytes_out: live.tally.bytes_out.get(),
    })
}

fn pool_name(record: &Record) -> &Arc<str> {
    &record.origin.pool.pool.name
}

fn assigned_client_id(live: &ActiveSession) -> Option<&str> {
    live.record.answer.as_ref()?.assigned_client_id()
}
