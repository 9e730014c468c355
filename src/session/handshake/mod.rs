//! From accept to CONNACK: read the CONNECT, choose a broker, bring the two together.

mod arrival;
mod proxy_header;
mod reject;
mod websocket;
mod wrong_protocol;

pub use arrival::AcceptContext;
pub(in crate::session) use reject::{Rejected, Reply};

use std::{borrow::Cow, future::poll_fn, os::fd::OwnedFd, pin::pin, rc::Rc, task::Poll};

use tokio::task::spawn_local;

use self::reject::reject;
use super::{
    active::{ActiveSession, IdleLimit, SessionCounters},
    broker_search::Answered,
    clients::{Place, StandIn},
    context::{READ_BYTES, WorkerContext},
    end::End,
    panics::asked_panic,
    record::{Client, Record},
    relay::Relay,
};
use crate::limits::{ConnectionPermit, FarOverLimit, Limit};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    listener::ListenerSettings,
    net::{Peer, Socket, Stream, deadline},
    proto::mqtt::{Boundary, Connect, Progress, connect},
    upstream::Lease,
};

/// Takes a connection from accept to its end or its relay.
pub async fn serve(
    context: Rc<WorkerContext>,
    accepted: Rc<AcceptContext>,
    fd: OwnedFd,
    peer: Peer,
) {
    let record = Record::new(&context, accepted.listener.clone(), peer);
    let client = match Socket::accepted(&context.reactor, fd) {
        Ok(client) => client,
        Err(error) => {
            let end = End::failed(EndBy::Proxy, EndPhase::Handshake, &error);
            return Box::pin(reject(&context, None, record, end.into())).await;
        }
    };
    let client = Stream::new(client);
    let pass = match ConnectionPermit::enter(&context.limiter) {
        Ok(pass) => pass,
        Err(over) => return Box::pin(reject(&context, Some(client), record, over.into())).await,
    };
    let buffer = context.take_buffer();
    let settings = &accepted.settings;
    let mut opening = Handshake {
        context: &context,
        settings,
        client,
        record,
        buffer,
        pass,
        stand_ins: Box::default(),
    };
    let arrived = if settings.is_plain() {
        opening.pass.identify(opening.record.client_ip()).map_err(Rejected::from)
    } else {
        // Boxed, as plain handshakes have no use for the room.
        Box::pin(opening.arrive()).await.map_err(|rejected| *rejected)
    };
    let opened = match arrived {
        Ok(()) => opening.open().await,
        Err(rejected) => Err(rejected),
    };
    let Handshake { client, mut record, buffer, pass, stand_ins, .. } = opening;
    record.read = record.read.saturating_add(buffer.len() as u32);
    context.give_back_buffer(buffer);
    match opened {
        Ok(opened) => establish(&context, client, record, pass, opened, stand_ins),
        // Boxed, as all handshakes would have the room for it otherwise.
        Err(rejected) => Box::pin(reject(&context, Some(client), record, rejected)).await,
    }
}

/// A handshake under way.
pub(in crate::session) struct Handshake<'a> {
    pub(in crate::session) context: &'a Rc<WorkerContext>,
    pub(in crate::session) settings: &'a ListenerSettings,
    pub(in crate::session) client: Stream,
    pub(in crate::session) record: Record,
    /// The CONNECT, and what came in the same reads behind it.
    pub(in crate::session) buffer: Vec<u8>,
    /// Its part in the limits.
    pub(in crate::session) pass: ConnectionPermit,
    /// The client's older sessions whose places it has.
    pub(in crate::session) stand_ins: Box<[StandIn]>,
}

impl From<FarOverLimit> for Rejected {
    fn from(FarOverLimit(limit): FarOverLimit) -> Self {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Limit);
        end.with(limit.far_exceeded()).into()
    }
}

/// A broker that answered.
struct Opened {
    upstream: Stream,
    lease: Lease,
    /// What it sent so far and the client has not taken.
    owed: Box<[u8]>,
    /// Passed on so far, from the client and to it.
    bytes: (u64, u64),
    /// Where in its packets the broker is.
    boundary: Boundary,
    accepted: bool,
    keep_alive: u16,
}

impl Handshake<'_> {
    async fn open(&mut self) -> Result<Opened, Rejected> {
        let at = self.record.accepted + self.context.timeouts.get().connect_packet;
        let reactor = self.context.reactor.clone();
        let Ok(read) = deadline(&reactor, at, pin!(self.read_connect())).await else {
            let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Timeout);
            return Err(end.with(missing(&self.buffer)).into());
        };
        let connect = read?;
        let took = self.record.accepted.elapsed();
        self.record.handshake = Some(took.into());
        self.record.origin.metrics.handshake_seconds.observe(took.as_secs_f64());
        let client = Client::new(&connect, &self.buffer);
        self.record.client = Some(client);
        asked_panic(&self.record, "handshake");
        if let Err(limit) = self.pass.check() {
            // Boxed, as few handshakes need the room for it.
            Box::pin(self.go_beyond(limit)).await?;
        }
        let answered = self.find_broker(&connect).await?;
        // The limits may have changed since it came; as a session it is counted again when they do.
        self.pass.recount();
        self.deliver(&connect, answered)
    }

    /// Goes on all the same where an older session of the client has the place that it wants.
    async fn go_beyond(&mut self, mut limit: Limit) -> Result<(), Rejected> {
        if limit == Limit::ConnectionsPerIp
            && let Some(address) = self.pass.counted()
        {
            if self.take_place(Place::Address(address)).await? {
                return Ok(());
            }
            // The older session may have ended while that was asked.
            match self.pass.check() {
                Ok(()) => return Ok(()),
                Err(now) => limit = now,
            }
        }
        let refused = self.refuse(limit.refusal(), EndPhase::Connect, EndCause::Limit);
        Err(refused.with(limit.exceeded()))
    }

    /// Reads until the CONNECT is whole, never past the limit for it.
    async fn read_connect(&mut self) -> Result<Connect, Rejected> {
        let limit = self.context.limits.get().connect_packet;
        let mut need = 1;
        loop {
            while self.buffer.len() < need {
                if self.read_more(limit, EndPhase::Connect).await? == 0 {
                    let end = End::new(EndBy::Client, EndPhase::Connect, EndCause::Closed);
                    return Err(self.ended(end.with(missing(&self.buffer))));
                }
            }
            match connect::parse(&self.buffer, limit) {
                Ok(Progress::Complete(connect)) => return Ok(connect),
                Ok(Progress::Incomplete { need: more }) => need = more,
                Err(refusal) => {
                    // Boxed, as all handshakes would have the room for it otherwise.
                    let detail = Box::pin(self.stray()).await;
                    let detail = detail.unwrap_or_else(|| refusal.reason.to_string().into());
                    let end =
                        End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Malformed).with(detail);
                    return Err(Rejected {
                        answer: refusal.connack().map(Reply::Own),
                        ..end.into()
                    });
                }
            }
        }
    }

    /// Reads once, up to `limit` bytes in all; 0 at the client's end.
    pub(in crate::session) async fn read_more(
        &mut self,
        limit: usize,
        phase: EndPhase,
    ) -> Result<usize, Rejected> {
        let context = self.context;
        let room = limit.saturating_sub(self.buffer.len());
        let (client, buffer) = (&self.client, &mut self.buffer);
        let read = poll_fn(|cx| {
            if let Some(cause) = context.ending.get() {
                return Poll::Ready(Err(End::new(EndBy::Proxy, phase, cause)));
            }
            let scratch = &mut *context.scratch.lend();
            let size = room.min(READ_BYTES);
            let read = scratch.receive(size, |room| client.poll_recv(cx, room));
            buffer.extend_from_slice(scratch.bytes());
            read.map_err(|error| End::failed(EndBy::Client, phase, &error))
        })
        .await;
        read.map_err(|end| self.ended(end))
    }

    /// What an end is while the client's bytes are read.
    pub(in crate::session) fn ended(&self, end: End) -> Rejected {
        let has_sent = !self.buffer.is_empty() || self.client.plain().is_none();
        if has_sent { Rejected::told(end) } else { Rejected::unheard(end) }
    }

    /// Gives the client the broker's answer.
    fn deliver(&mut self, connect: &Connect, answered: Answered) -> Result<Opened, Rejected> {
        let Answered { upstream, lease, connack, reply } = answered;
        let sent = match self.client.try_send(&reply) {
            Poll::Ready(sent) => {
                sent.map_err(|error| End::failed(EndBy::Client, EndPhase::Connack, &error))?
            }
            Poll::Pending => 0,
        };
        let owed = reply.get(sent..).unwrap_or_default().into();
        let (exchanged_in, exchanged_out) = self.record.handshake_bytes();
        let bytes = (exchanged_in + self.buffer.len() as u64, exchanged_out + reply.len() as u64);
        let mut boundary = Boundary::START;
        boundary.feed(&reply);
        self.context.give_back_buffer(reply);
        let keep_alive = connack.server_keep_alive.unwrap_or(connect.keep_alive);
        let accepted = connack.code == 0;
        Ok(Opened { upstream, lease, owed, bytes, boundary, accepted, keep_alive })
    }
}

fn missing(buffer: &[u8]) -> Cow<'static, str> {
    match buffer.len() {
        0 => "nothing was sent".into(),
        n => format!("{n} bytes of a CONNECT were sent, and no more").into(),
    }
}

fn establish(
    context: &Rc<WorkerContext>,
    client: Stream,
    record: Record,
    pass: ConnectionPermit,
    opened: Opened,
    stand_ins: Box<[StandIn]>,
) {
    let Opened { upstream, lease, owed, bytes, boundary, accepted, keep_alive } = opened;
    if accepted {
        if let Some(client) = &record.client {
            record.origin.metrics.count_session(client.version.level());
        }
        record.log_connect();
    }
    let idle = IdleLimit::new(context.timeouts.get().idle, keep_alive);
    let tally = SessionCounters::default();
    let live = ActiveSession { tally, idle, client, upstream, record, accepted, lease, pass };
    live.count_in(bytes.0, context.seconds());
    live.count_out(bytes.1, context.seconds());
    if !accepted {
        // The broker is to close now (MQTT-3.2.2-5, MQTT-3.2.2-7 in 5.0); it is not waited for long.
        live.tally.half_closed.set(context.seconds());
    }
    let relay = Relay::new(live, &owed, boundary);
    // A task of its own, so that an idle session is only as large as the relay.
    if accepted || stand_ins.is_empty() {
        spawn_local(relay);
    } else {
        // While one that was refused is still there, nobody else may be in the place that it had.
        return drop(spawn_local(async move {
            relay.await;
            drop(stand_ins);
        }));
    }
    if !stand_ins.is_empty() {
        context.clients.give_up(stand_ins);
    }
}
