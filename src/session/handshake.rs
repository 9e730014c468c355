//! From accept to CONNACK: read the CONNECT, choose a broker, bring the two together.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    end::End,
    gate::Pass,
    live::{IdleLimit, Live},
    record::{Answer, Client, Origin, Record, Way},
    relay::Relay,
    shard::Shard,
};
use crate::{
    mqtt::{self, Connect, Progress, Refuse, Version, connack, connect},
    observe::{EndBy, EndCause, EndPhase, Event, RouteKind, TryOutcome},
    route::{self, Choice},
    transport::{Elapsed, Peer, Socket, deadline},
    upstream::{Broker, DialError, Lease, dial},
};

/// How long, and for how much, a client that was refused is listened to after the answer. Closing
/// with unread data resets the connection, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Takes a connection from accept to its end or its relay.
pub async fn serve(shard: Rc<Shard>, origin: Rc<Origin>, fd: OwnedFd, peer: Peer) {
    shard.begin();
    let record = Record::new(&shard, origin, peer);
    let client = match Socket::accepted(&shard.reactor, fd) {
        Ok(client) => client,
        Err(error) => {
            let end = End::failed(EndBy::Proxy, EndPhase::Handshake, &error);
            return reject(&shard, record, end);
        }
    };
    let Some(pass) = shard.gate.enter(peer.ip()) else {
        let end = End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Limit);
        return reject(&shard, record, end.with("max_connections, and no room for an answer"));
    };
    let buffer = shard.take_buffer();
    let mut opening = Opening { shard: &shard, client, record, buffer };
    let opened = opening.open(&pass).await;
    let Opening { client, record, buffer, .. } = opening;
    shard.give_back_buffer(buffer);
    match opened {
        Ok(opened) => establish(&shard, client, record, pass, opened),
        Err(Rejected { end, answer }) => {
            reject(&shard, record, end);
            if let Some(answer) = answer {
                turn_away(&shard, client, &answer).await;
            }
        }
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
    owed: Vec<u8>,
    accepted: bool,
    keep_alive: u16,
}

/// A connection that ends before its session began.
struct Rejected {
    end: End,
    answer: Option<mqtt::Answer>,
}

impl From<End> for Rejected {
    fn from(end: End) -> Self {
        Self { end, answer: None }
    }
}

impl Opening<'_> {
    async fn open(&mut self, pass: &Pass) -> Result<Opened, Rejected> {
        let at = self.record.accepted + self.shard.timeouts.connect_packet;
        let reactor = self.shard.reactor.clone();
        let connect = match deadline(&reactor, at, self.read_connect()).await {
            Ok(connect) => connect?,
            Err(Elapsed) => {
                let end = End::new(EndBy::Proxy, EndPhase::Connect, EndCause::Timeout);
                return Err(end.with(missing(&self.buffer)).into());
            }
        };
        let took = self.shard.reactor.now().duration_since(self.record.accepted);
        self.record.handshake = Some(took.into());
        self.record.origin.metrics.handshake_seconds.observe(took.as_secs_f64());
        let client = Client::new(&connect, &self.buffer);
        self.record.client = Some(client);
        pass.check().map_err(|refuse| self.refuse(refuse, EndPhase::Connect, EndCause::Limit))?;
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
                    let answer = refusal.connack();
                    return Err(Rejected { end, answer });
                }
            }
        }
    }

    async fn read_more(&mut self, limit: usize) -> Result<usize, End> {
        let shard = self.shard;
        let room = limit.saturating_sub(self.buffer.len());
        let (client, buffer) = (&self.client, &mut self.buffer);
        poll_fn(|cx| {
            let mut scratch = shard.scratch.borrow_mut();
            let size = room.min(scratch.len());
            client.poll_recv(cx, &mut scratch[..size]).map_ok(|n| {
                buffer.extend_from_slice(&scratch[..n]);
                n
            })
        })
        .await
        .map_err(|error| End::failed(EndBy::Client, EndPhase::Connect, &error))
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
            let dialled = self.dial(lease.broker().clone()).await?;
            let took = shard.reactor.now().duration_since(began);
            self.record.way = Some(Way { route, broker: broker as u32, dial: took.into() });
            match dialled {
                Ok(upstream) => {
                    lease.broker().metrics.connect_seconds.observe(took.as_secs_f64());
                    view.pool.metrics.routed(route);
                    return self.await_connack(connect, upstream, lease).await;
                }
                Err(error) => {
                    let outcome = match error {
                        DialError::TimedOut(_) => TryOutcome::ConnectTimeout,
                        DialError::Failed(_) | DialError::Unresolved => TryOutcome::ConnectFailure,
                    };
                    lease.broker().metrics.tried(outcome);
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
                .refuse(Refuse::ServerUnavailable, EndPhase::Dial, EndCause::Down)
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
        let shard = self.shard;
        let view = &shard.pools[self.record.origin.pool];
        let balance = &view.pool.config.balance;
        let mut router = view.router.borrow_mut();
        let mut scratch = shard.key.borrow_mut();
        let client = route::Client {
            client_id: connect.client_id.of(&self.buffer),
            username: connect.username.map(|username| username.of(&self.buffer)),
            source_ip: self.record.peer.ip(),
        };
        let passed_over = Cell::new(false);
        let sessions = |broker: usize| {
            let load = view.pool.brokers[broker].load().filter(|_| !tried.contains(&broker));
            passed_over.set(passed_over.get() || load.is_none());
            load
        };
        let choice = balance.key.choose(balance.empty_client_id, &client, &mut scratch);
        Ok(match choice {
            Choice::Reject => {
                return Err(self
                    .refuse(Refuse::IdentifierRejected, EndPhase::Connect, EndCause::Refused)
                    .with("empty client ID, and empty_client_id is reject"));
            }
            Choice::LeastConnections => {
                router.pick_least_connections(&sessions).map(|broker| (broker, RouteKind::EmptyId))
            }
            Choice::Key(key) => {
                let picked = router.pick(key, &sessions);
                let route = if !balance.algorithm.is_keyed() {
                    RouteKind::Balanced
                } else if client.client_id.is_empty() && balance.key.uses_client_id() {
                    RouteKind::EmptyId
                } else if passed_over.get() && router.pick(key, &|_| Some(0)) != picked {
                    RouteKind::Fallback
                } else {
                    RouteKind::Hash
                };
                picked.map(|broker| (broker, route))
            }
        })
    }

    async fn dial(&self, broker: Arc<Broker>) -> Result<Result<Socket, DialError>, Rejected> {
        let shard = self.shard;
        let timeout = shard.pools[self.record.origin.pool].pool.config.connect_timeout;
        let dialling = dial(&shard.reactor, &broker, shard.tcp_options(), timeout, &self.buffer);
        self.while_client_stays(EndPhase::Dial, dialling).await
    }

    /// Sees the broker's answer and passes it on.
    async fn await_connack(
        &mut self,
        connect: &Connect,
        upstream: Socket,
        lease: Lease,
    ) -> Result<Opened, Rejected> {
        let shard = self.shard;
        let timeout = shard.pools[self.record.origin.pool].pool.config.connack_timeout;
        let began = shard.reactor.now();
        let mut reply = shard.take_buffer();
        let answering = async {
            let mut forwarded = 0;
            loop {
                match connack::parse(&reply[forwarded..], connect.version, shard.limits.connect_packet) {
                    Ok(Progress::Complete(connack)) => return Ok((connack, forwarded)),
                    Ok(Progress::Incomplete { need }) => while reply.len() < need + forwarded {
                    },
                    Err(malformed) => {}
                }
            }
        };
        todo!()
    }
}
