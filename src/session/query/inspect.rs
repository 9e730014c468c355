//! Queries about sessions, sent by another thread and answered by the worker that holds them.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::oneshot, task::spawn_local};

use crate::{
    labels::{EndCause, Transport},
    limits::Ban,
    proto::CertificateFacts,
    session::{
        active::ActiveSession,
        ban_log::log_operator_bans,
        context::WorkerContext,
        record::{ClientInfo, Record},
        walk::{OutOfTime, find},
    },
    template::ClientFields,
};

/// A session at the time of the query.
#[derive(Clone, Debug)]
pub(crate) struct SessionInfo {
    pub(crate) session_id: u64,
    /// As the client sent it; `None` if its TLS is passed through.
    pub(crate) client_id: Option<Box<str>>,
    /// The ID that the broker was sent, if it is another one.
    pub(crate) broker_client_id: Option<Box<str>>,
    /// The ID that was assigned to a client without one.
    pub(crate) assigned_client_id: Option<Box<str>>,
    pub(crate) username: Option<Box<str>>,
    pub(crate) listener: Arc<str>,
    pub(crate) transport: Transport,
    /// `None` on a unix socket.
    pub(crate) client: Option<SocketAddr>,
    /// The server name that the client asked for in TLS.
    pub(crate) sni: Option<Box<str>>,
    /// The client's verified certificate.
    pub(crate) certificate: Option<Box<CertificateFacts>>,
    /// 3, 4 or 5; `None` if TLS is passed through.
    pub(crate) protocol_version: Option<u8>,
    pub(crate) pool: Arc<str>,
    pub(crate) upstream: Arc<str>,
    /// When the connection was accepted.
    pub(crate) connected_at: SystemTime,
    /// The time since `connected_at`.
    pub(crate) duration: Duration,
    /// Seconds; `None` if TLS is passed through.
    pub(crate) keep_alive: Option<u16>,
    /// `None` if TLS is passed through.
    pub(crate) clean_start: Option<bool>,
    /// From the client, since accept.
    pub(crate) bytes_in: u64,
    /// To the client, since accept.
    pub(crate) bytes_out: u64,
}

impl SessionInfo {
    /// Bytes of the strings chosen by the client, its certificate or its broker.
    pub(crate) fn text_bytes(&self) -> usize {
        let len = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let certificate = self.certificate.as_ref().map_or(0, |facts| facts.text_bytes());
        let ids =
            len(&self.client_id) + len(&self.broker_client_id) + len(&self.assigned_client_id);
        ids + len(&self.username) + len(&self.sni) + certificate
    }
}

/// Matches sessions that have all of the given values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// The client's own ID, that for its broker, or the assigned one.
    pub(crate) client_id: Option<String>,
    pub(crate) username: Option<String>,
    /// The server name that the client asked for in TLS; upper and lower case are the same.
    pub(crate) sni: Option<String>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) upstream: Option<String>,
    pub(crate) listener: Option<String>,
    pub(crate) pool: Option<String>,
}

/// A query to one worker.
pub struct SessionQuery(pub(crate) QueryKind);

pub(crate) enum QueryKind {
    /// The matching sessions in these slots, each with the position of its slot in the list.
    Slots {
        slots: Vec<SessionSlot>,
        filter: Arc<Filter>,
        reply: oneshot::Sender<Vec<(usize, SessionInfo)>>,
    },
    /// The matching sessions from a slot on, limited by number and by the bytes of their strings;
    /// the last session may exceed the byte limit.
    Page {
        from_slot: usize,
        max_sessions: usize,
        max_text_bytes: usize,
        filter: Arc<Filter>,
        until: Instant,
        reply: oneshot::Sender<WorkerPage>,
    },
    /// Writes bans by the operator into the access log.
    LogBans(Vec<Ban>),
    /// Ends a session; the reply says whether it exists.
    End {
        session_id: u64,
        cause: EndCause,
        until: Instant,
        reply: oneshot::Sender<Result<bool, OutOfTime>>,
    },
}

/// The location of a session when the directory was queried.
pub(crate) struct SessionSlot {
    pub(crate) order: usize,
    pub(crate) session_id: u64,
    pub(crate) slot: u32,
}

/// Some of a worker's sessions.
#[derive(Default)]
pub(crate) struct WorkerPage {
    pub(crate) sessions: Vec<SessionInfo>,
    /// The slot to continue with: that of the next match, or the first one not visited before the
    /// time ran out.
    pub(crate) next: Option<usize>,
}

/// Answers a query at once; or, if many sessions have to be read, in a task of its own that yields
/// to clients.
pub(crate) fn answer_query(context: &Rc<WorkerContext>, query: SessionQuery) {
    let context = context.clone();
    // A reply fails if the receiver no longer waits for it.
    match query.0 {
        QueryKind::Slots { slots, filter, reply } => {
            let infos = slots.into_iter().filter_map(|SessionSlot { order, session_id, slot }| {
                let info = context.sessions.with(slot, session_id, |session| {
                    filter.matches(session).then(|| session_info(&context, session))
                });
                Some((order, info??))
            });
            let _ = reply.send(infos.collect());
        }
        QueryKind::Page { from_slot, max_sessions, max_text_bytes, filter, until, reply } => {
            spawn_local(async move {
                let max = (max_sessions, max_text_bytes);
                let _ = reply.send(page(&context, from_slot, max, &filter, until).await);
            });
        }
        QueryKind::LogBans(bans) => log_operator_bans(&context, bans),
        QueryKind::End { session_id, cause, until, reply } => {
            spawn_local(async move {
                let end = |session: &ActiveSession| {
                    let is_it =
                        session.record.session_id == session_id && session.record.is_accepted();
                    is_it.then(|| session.end(cause))
                };
                let ended = find(&context, 0, until, end).await;
                let _ = reply.send(ended.map(|ended| ended.is_some()));
            });
        }
    }
}

async fn page(
    context: &Rc<WorkerContext>,
    from_slot: usize,
    (max_sessions, max_text_bytes): (usize, usize),
    filter: &Filter,
    until: Instant,
) -> WorkerPage {
    let (mut sessions, mut text_bytes) = (Vec::new(), 0);
    let one_more = find(context, from_slot, until, |session| {
        if !filter.matches(session) {
            return None;
        }
        if sessions.len() == max_sessions || text_bytes >= max_text_bytes {
            return Some(session.slot as usize);
        }
        let info = session_info(context, session);
        text_bytes += info.text_bytes();
        sessions.push(info);
        None
    });
    let next = one_more.await.unwrap_or_else(|OutOfTime { next_slot }| Some(next_slot));
    WorkerPage { sessions, next }
}

impl Filter {
    fn matches(&self, session: &ActiveSession) -> bool {
        let record = &session.record;
        let client = record.client.as_ref();
        let (sent_id, sent_username) = record.sent_names().unzip();
        let is = |wanted: &Option<String>, has: Option<&str>| match wanted {
            Some(wanted) => has == Some(wanted),
            None => true,
        };
        session.record.is_accepted()
            && (is(&self.client_id, sent_id)
                || is(&self.client_id, client.map(ClientInfo::client_id))
                || is(&self.client_id, record.assigned_client_id()))
            && (is(&self.username, sent_username.flatten())
                || is(&self.username, client.and_then(ClientInfo::username)))
            && self.is_from(&record.fields())
            && is(&self.upstream, Some(&session.lease.broker().name))
            && is(&self.listener, Some(&record.listener.name))
            && is(&self.pool, Some(pool_name(record)))
    }

    /// Whether the client has the server name and the address, which are known also of a client
    /// whose TLS is passed through.
    fn is_from(&self, client: &ClientFields<'_>) -> bool {
        let is_name =
            |wanted: &String| client.sni.is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        let is_source = |wanted: IpAddr| {
            client.source_ip.is_some_and(|ip| ip.to_canonical() == wanted.to_canonical())
        };
        self.sni.as_ref().is_none_or(is_name) && self.source.is_none_or(is_source)
    }
}

/// What a query returns about a session.
fn session_info(context: &WorkerContext, session: &ActiveSession) -> SessionInfo {
    let record = &session.record;
    let client = record.client.as_ref();
    let (client_id, username) = record.sent_names().unzip();
    let broker_client_id = client.map(ClientInfo::client_id).filter(|id| client_id != Some(*id));
    let duration = context.reactor.now().saturating_duration_since(record.accepted);
    SessionInfo {
        session_id: record.session_id,
        client_id: client_id.map(Box::from),
        broker_client_id: broker_client_id.map(Box::from),
        assigned_client_id: record.assigned_client_id().map(Box::from),
        username: username.flatten().map(Box::from),
        listener: record.listener.name.clone(),
        transport: record.transport_kind(),
        client: record.source.address(),
        sni: record.tls().and_then(|tls| tls.sni.clone()),
        certificate: record.tls().and_then(|tls| tls.certificate.clone()),
        protocol_version: client.map(|client| client.version.level()),
        pool: pool_name(record).clone(),
        upstream: session.lease.broker().name.clone(),
        connected_at: context
            .reactor
            .wall_clock()
            .checked_sub(duration)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        duration,
        keep_alive: client.map(|client| client.keep_alive),
        clean_start: client.map(|client| client.clean_start),
        bytes_in: session.counters.bytes_in.get(),
        bytes_out: session.counters.bytes_out.get(),
    }
}

fn pool_name(record: &Record) -> &Arc<str> {
    &record.listener.pool.pool.name
}
