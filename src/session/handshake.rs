//! From accept to CONNACK: read the CONNECT, choose a broker, bring the two together.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    os::fd::OwnedFd,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use tokio::task::spawn_local;

use super::{
    choose::{NoIdentity, choose},
    dialogue::Dialogue,
    end::End,
    gate::Pass,
    live::{IdleLimit, Live, Tally},
    record::{Answer, Client, Origin, Record, Way},
    reject::{Rejected, reject},
    relay::Relay,
    shard::Shard,
};
use crate::{
    mqtt::{Connect, Progress, Refuse, connect, reason},
    observe::{EndBy, EndCause, EndPhase, RouteKind, TryOutcome},
    route,
    transport::{Elapsed, Peer, Socket, deadline},
    upstream::{Broker, DialError, Lease, dial},
};

/// Takes a connection from accept to its end or its relay.
pub async fn serve(shard: Rc<Shard>, origin: Rc<Origin>, fd: OwnedFd, peer: Peer) {
    shard.begin();
    let record = Record::new(&shard, origin, peer);
    let client = match Socket::accepted(&shard.reactor, fd) {
        Ok(client) => client,
        Err(error) => {
            let end = End::failed(EndBy::Proxy, EndPhase::Handshake, &error);
            return Box::pin(reject(&shard, None, record, end.into())).await;
        }
    };
    let Some(pass) = shard.gate.enter(peer.ip()) else {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Limit)
            .with("far more than max_connections; no CONNECT was waited for");
        return Box::pin(reject(&shard, Some(client), record, end.into())).await;
    };
    let buffer = shard.take_buffer();
    let mut opening = Opening { shard: &shard, client, record, buffer };
    let opened = opening.open(&pass).await;
    let Opening { client, mut record, buffer, .. } = opening;
    record.read = buffer.len() as u32;
    shard.give_back_buffer(buffer);
    match opened {
        Ok(opened) => establish(&shard, client, record, pass, opened),
        // Boxed, as all handshakes would have the room for it otherwise.
        Err(rejected) => Box::pin(reject(&shard, Some(client), record, rejected)).await,
    }
}

/// A handshake under way.
struct Opening<'a> {
    shard: &'a Rc<Shard>,
    client: Socket,
    record: Record,
    /// The CONNECT, and what came in the same reads behind it.
    buffer: Vec<u8>,
}

/// A broker that answered.
struct Opened {
    upstream: Socket,
    lease: Lease,
    /// What it sent so far and the client has not taken.
    owed: Box<[u8]>,
    /// Passed on so far, from the client and to it.
    bytes: (u64, u64),
    accepted: bool,
    keep_alive: u16,
}

impl Opening<'_> {
    async fn open(&mut self, pass: &Pass) -> Result<Opened, Rejected> {
        let at = self.record.accepted + self.shard.timeouts.connect_packet;
        let reactor = self.shard.reactor.clone();
        let Ok(read) = deadline(&reactor, at, pin!(self.read_connect())).await else {
            let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Timeout);
            return Err(end.with(missing(&self.buffer)).into());
        };
        let connect = read?;
        let took = self.shard.reactor.now().duration_since(self.record.accepted);
        self.record.handshake = Some(took.into());
        self.record.origin.metrics.handshake_seconds.observe(took.as_secs_f64());
        let client = Client::new(&connect, &self.buffer);
        self.record.client = Some(client);
        if let Err(refuse) = pass.check() {
            return Err(self.refuse(refuse, EndPhase::Connect, EndCause::Limit));
        }
        self.find_broker(&connect).await
    }

    /// Reads until the CONNECT is whole, never past the limit for it.
    async fn read_connect(&mut self) -> Result<Connect, Rejected> {
        let limit = self.shard.limits.connect_packet;
        let mut need = 1;
        loop {
            while self.buffer.len() < need {
                if self.read_more(limit).await? == 0 {
                    let end = End::new(EndBy::Client, EndPhase::Connect, EndCause::Closed);
                    return Err(end.with(missing(&self.buffer)).into());
                }
            }
            match connect::parse(&self.buffer, limit) {
                Ok(Progress::Complete(connect)) => return Ok(connect),
                Ok(Progress::Incomplete { need: more }) => need = more,
                Err(refusal) => {
                    let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Malformed)
                        .with(refusal.reason.to_string());
                    return Err(Rejected { end, answer: refusal.connack() });
                }
            }
        }
    }

    async fn read_more(&mut self, limit: usize) -> Result<usize, End> {
        let shard = self.shard;
        let room = limit.saturating_sub(self.buffer.len());
        let (client, buffer) = (&self.client, &mut self.buffer);
        poll_fn(|cx| {
            if let Some(cause) = shard.ending.get() {
                return Poll::Ready(Err(End::new(EndBy::Proxy, EndPhase::Connect, cause)));
            }
            let mut scratch = shard.scratch.borrow_mut();
            let size = room.min(scratch.len());
            let read = client.poll_recv(cx, &mut scratch[..size]).map_ok(|n| {
                buffer.extend_from_slice(&scratch[..n]);
                n
            });
            read.map_err(|error| End::failed(EndBy::Client, EndPhase::Connect, &error))
        })
        .await
    }

    /// Tries brokers in order until one answers.
    async fn find_broker(&mut self, connect: &Connect) -> Result<Opened, Rejected> {
        let shard = self.shard;
        let view = &shard.pools[self.record.origin.pool];
        let mut tried = Vec::new();
        let mut last = None;
        for _ in 0..view.pool.config.tries.get() {
            let Some((broker, route)) = self.choose(connect, &tried)? else { break };
            // Its last place may have gone between the choice and now.
            let Some(lease) = view.pool.brokers[broker].lease() else {
                tried.push(broker);
                continue;
            };
            self.record.tries = self.record.tries.saturating_add(1);
            let began = shard.reactor.now();
            let dialled = self.dial(lease.broker().clone()).await.map_err(|end| {
                lease.broker().metrics.count_try(TryOutcome::Abandoned);
                self.given_up(end)
            })?;
            let took = shard.reactor.now().duration_since(began);
            self.record.way = Some(Way { route, broker: broker as u32, dial: took.into() });
            match dialled {
                Ok(upstream) => {
                    lease.broker().metrics.connect_seconds.observe(took.as_secs_f64());
                    view.pool.metrics.count_route(route);
                    return self.await_connack(connect, upstream, lease).await;
                }
                Err(error) => {
                    let outcome = match error {
                        DialError::TimedOut(_) => TryOutcome::ConnectTimeout,
                        DialError::Failed(_) | DialError::Unresolved => TryOutcome::ConnectFailure,
                    };
                    lease.broker().metrics.count_try(outcome);
                    tracing::debug!(
                        pool = %view.pool.config.name, upstream = %lease.broker().name, %error,
                        "dial failed"
                    );
                    last = Some((outcome, error));
                    tried.push(broker);
                }
            }
        }
        Err(match last {
            Some((TryOutcome::ConnectTimeout, error)) => self
                .refuse(Refuse::ServerUnavailable, EndPhase::Dial, EndCause::Timeout)
                .with(error.to_string()),
            Some((_, error)) => self
                .refuse(Refuse::ServerUnavailable, EndPhase::Dial, EndCause::NoUpstream)
                .with(error.to_string()),
            None => self
                .refuse(Refuse::ServerUnavailable, EndPhase::Dial, EndCause::Limit)
                .with("every broker of the pool has its max_connections"),
        })
    }

    /// The best broker not tried yet, and by which way it came to be that.
    fn choose(
        &self,
        connect: &Connect,
        tried: &[usize],
    ) -> Result<Option<(usize, RouteKind)>, Rejected> {
        let client = route::Client {
            client_id: connect.client_id.of(&self.buffer),
            username: connect.username.map(|username| username.of(&self.buffer)),
            source_ip: self.record.peer.ip(),
        };
        choose(self.shard, self.record.origin.pool, &client, tried).map_err(|NoIdentity| {
            self.refuse(Refuse::IdentifierRejected, EndPhase::Connect, EndCause::Refused)
                .with("empty client ID, and empty_client_id is reject")
        })
    }

    async fn dial(&self, broker: Arc<Broker>) -> Result<Result<Socket, DialError>, End> {
        let shard = self.shard;
        let timeout = shard.pools[self.record.origin.pool].pool.config.connect_timeout;
        let dialling = pin!(dial(&shard.reactor, &broker, timeout, &self.buffer));
        while_unbroken(shard, &self.client, EndPhase::Dial, dialling).await
    }

    /// Sees the broker's answer and passes it on.
    async fn await_connack(
        &mut self,
        connect: &Connect,
        upstream: Socket,
        lease: Lease,
    ) -> Result<Opened, Rejected> {
        let shard = self.shard;
        let began = shard.reactor.now();
        let at = began + shard.pools[self.record.origin.pool].pool.config.connack_timeout;
        let metrics = &lease.broker().metrics;
        let mut dialogue = Dialogue::new(shard, &self.client, &upstream, connect.version);
        let answered = {
            let answering = pin!(dialogue.connack());
            let answering = while_unbroken(shard, &self.client, EndPhase::Connack, answering);
            deadline(&shard.reactor, at, pin!(answering)).await
        };
        let connack = match answered {
            Ok(Ok(Ok(connack))) => connack,
            Ok(Ok(Err(end)) | Err(end)) => {
                metrics.count_try(match end.by {
                    EndBy::Upstream => TryOutcome::NoConnack,
                    EndBy::Client | EndBy::Proxy => TryOutcome::Abandoned,
                });
                return Err(self.given_up(end));
            }
            Err(Elapsed) => {
                metrics.count_try(TryOutcome::NoConnack);
                return Err(self
                    .refuse(Refuse::ServerUnavailable, EndPhase::Connack, EndCause::Timeout)
                    .with("no CONNACK within connack_timeout"));
            }
        };
        let waited = shard.reactor.now().duration_since(began);
        metrics.count_connack(reason::name(connect.version, connack.code), waited);
        metrics.count_try(match connack.code {
            0 => TryOutcome::Accepted,
            _ => TryOutcome::Refused,
        });
        let Dialogue { reply, passed_in, passed_out, .. } = dialogue;
        self.record.answer = Some(Answer::of_broker(connect.version, &connack, &reply, waited));
        let sent = match self.client.try_send(&reply) {
            Poll::Ready(sent) => {
                sent.map_err(|error| End::failed(EndBy::Client, EndPhase::Connack, &error))?
            }
            Poll::Pending => 0,
        };
        let owed = reply.get(sent..).unwrap_or_default().into();
        let bytes = (self.buffer.len() as u64 + passed_in, reply.len() as u64 + passed_out);
        shard.give_back_buffer(reply);
        let keep_alive = connack.server_keep_alive.unwrap_or(connect.keep_alive);
        Ok(Opened { upstream, lease, owed, bytes, accepted: connack.code == 0, keep_alive })
    }

    /// Tells a client that is still there that it has no broker.
    fn given_up(&self, end: End) -> Rejected {
        match end.by {
            EndBy::Client => end.into(),
            EndBy::Upstream | EndBy::Proxy => self.answer(Refuse::ServerUnavailable, end),
        }
    }

    fn refuse(&self, refuse: Refuse, phase: EndPhase, cause: EndCause) -> Rejected {
        self.answer(refuse, End::new(EndBy::Proxy, phase, cause))
    }

    fn answer(&self, refuse: Refuse, end: End) -> Rejected {
        let version = self.record.client.as_ref().map(|client| client.version);
        Rejected { end, answer: version.map(|version| refuse.connack(version)) }
    }
}

/// Runs `work` unless the client's connection breaks meanwhile, or the proxy ends.
async fn while_unbroken<T>(
    shard: &Shard,
    client: &Socket,
    phase: EndPhase,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    poll_fn(|cx| {
        client.watch(cx);
        if let Some(cause) = shard.ending.get() {
            return Poll::Ready(Err(End::new(EndBy::Proxy, phase, cause)));
        }
        if client.is_broken() {
            return Poll::Ready(Err(End::new(EndBy::Client, phase, EndCause::Reset)));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

fn missing(buffer: &[u8]) -> Cow<'static, str> {
    match buffer.len() {
        0 => "nothing was sent".into(),
        n => format!("{n} bytes of a CONNECT were sent, and no more").into(),
    }
}

fn establish(shard: &Rc<Shard>, client: Socket, record: Record, pass: Pass, opened: Opened) {
    let Opened { upstream, lease, owed, bytes, accepted, keep_alive } = opened;
    if accepted {
        if let Some(client) = &record.client {
            record.origin.metrics.count_session(client.version.level());
        }
        record.log_connect(shard);
    }
    let idle = IdleLimit::new(shard.timeouts.idle, keep_alive);
    let tally = Tally::default();
    let live = Live { tally, idle, client, upstream, record, accepted, lease, _pass: pass };
    live.count_in(bytes.0, shard.seconds());
    live.count_out(bytes.1, shard.seconds());
    if !accepted {
        // The broker is to close now (MQTT-3.2.2-5, MQTT-3.2.2-7 in 5.0); it is not waited for long.
        live.tally.half_closed.set(shard.seconds());
    }
    // A task of its own, so that an idle session is only as large as the relay.
    spawn_local(Relay::new(shard.clone(), live, &owed));
}
