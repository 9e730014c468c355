//! What is known of a connection, kept small, and the log entries made of it.

mod client;
mod connack;
mod micros;
mod route_taken;

pub(in crate::session) use client::Client;
pub(in crate::session) use connack::ConnackSent;
pub(in crate::session) use route_taken::RouteTaken;

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::spawn_local;

use super::{context::WorkerContext, end::End, pool_view::PoolView};
use crate::{
    access_log::Entry,
    balance,
    labels::{EndBy, EndCause, EndPhase, Event, Transport},
    metrics::ListenerMetrics,
    net::PeerAddress,
    proto::{TlsFacts, mqtt::reason},
};
use micros::Micros;

/// What the record says of a connection whose task panicked.
const PANICKED: &str = "a fault in the proxy: the task of this connection panicked";

/// The listener that a connection came through, as it was then. Kept by its sessions, and so small.
pub struct ListenerRef {
    pub name: Arc<str>,
    pub transport: Transport,
    pub pool: Rc<PoolView>,
    pub metrics: ListenerMetrics,
}

/// One connection's facts, filled in as they come to light. It counts as unfinished until it is
/// dropped, and ends with [`Self::end`]; where a panic drops it, that is the end that it records.
pub(in crate::session) struct Record {
    pub(in crate::session) context: Rc<WorkerContext>,
    ended: bool,
    pub(in crate::session) session: u64,
    pub(in crate::session) origin: Rc<ListenerRef>,
    /// Who the client is: the socket's peer, unless something trusted in front of it named another.
    pub(in crate::session) source: PeerAddress,
    /// `None` for a connection without any wrapping.
    pub(in crate::session) wrapping: Option<Box<Wrapping>>,
    pub(in crate::session) accepted: Instant,
    pub(in crate::session) client: Option<Client>,
    pub(in crate::session) way: Option<RouteTaken>,
    pub(in crate::session) answer: Option<ConnackSent>,
    pub(in crate::session) tries: u8,
    /// Bytes from the client before its session began; until then, those of an authentication
    /// exchange alone (5.0 §4.12).
    pub(in crate::session) read: u32,
    /// Bytes to the client before its CONNACK: of such an exchange.
    pub(in crate::session) sent: u32,
    pub(in crate::session) handshake: Option<Micros>,
    /// In queues for admission; `None`: it did not have to wait.
    queued: Option<Micros>,
}

/// What came to light before the first byte of MQTT.
#[derive(Default)]
pub(in crate::session) struct Wrapping {
    /// The socket's peer, where the client is another.
    pub(in crate::session) peer: Option<SocketAddr>,
    /// Where the client connected to, if that was not this proxy.
    pub(in crate::session) destination: Option<SocketAddr>,
    pub(in crate::session) tls: Option<TlsFacts>,
}

impl Record {
    pub(in crate::session) fn new(
        context: &Rc<WorkerContext>,
        origin: Rc<ListenerRef>,
        peer: PeerAddress,
    ) -> Self {
        context.begin();
        origin.metrics.connections_total.inc();
        origin.metrics.connections_active.inc();
        Self {
            context: context.clone(),
            ended: false,
            session: context.next_session_id(),
            origin,
            source: peer,
            wrapping: None,
            accepted: Instant::now(),
            client: None,
            way: None,
            answer: None,
            tries: 0,
            read: 0,
            sent: 0,
            handshake: None,
            queued: None,
        }
    }

    /// Adds a wait in a queue for admission.
    pub(in crate::session) fn add_wait(&mut self, waited: Duration) {
        let before = self.queued.map_or(Duration::ZERO, Duration::from);
        self.queued = Some((before + waited).into());
    }

    /// The address to count and hash by; `None` on a unix socket.
    pub(in crate::session) fn client_ip(&self) -> Option<IpAddr> {
        self.source.ip()
    }

    /// What TLS said of the client, if it was there and said anything.
    pub(in crate::session) fn tls(&self) -> Option<&TlsFacts> {
        self.wrapping.as_ref()?.tls.as_ref()
    }

    /// What a broker is chosen by, for a client of this ID and username.
    pub(in crate::session) fn for_route<'a>(
        &'a self,
        client_id: &'a str,
        username: Option<&'a str>,
    ) -> balance::ClientFields<'a> {
        let tls = self.tls();
        balance::ClientFields {
            client_id,
            username,
            source_ip: self.client_ip(),
            tls_cn: tls.and_then(|tls| tls.common_name.as_deref()),
            sni: tls.and_then(|tls| tls.sni.as_deref()),
        }
    }

    /// Bytes from the client and to it before its session began, but for its CONNACK.
    pub(in crate::session) fn handshake_bytes(&self) -> (u64, u64) {
        (self.read.into(), self.sent.into())
    }

    /// What the handshake has come to.
    fn phase(&self) -> EndPhase {
        match (&self.client, &self.way) {
            (None, _) if self.read == 0 => EndPhase::Handshake,
            (None, _) => EndPhase::Connect,
            (Some(_), None) => EndPhase::Dial,
            (Some(_), Some(_)) => EndPhase::Connack,
        }
    }

    /// Writes the entry that says the session is up.
    pub(in crate::session) fn log_connect(&self) {
        if self.context.log.wants(Event::Connect) {
            self.context.log.write(&self.entry(Event::Connect));
        }
    }

    /// Records the end of this connection as soon as the log has room for it.
    pub(in crate::session) fn end(mut self, event: Event, bytes: (u64, u64), end: End) {
        if self.context.log.has_room() {
            self.log_end(event, bytes, &end);
            return;
        }
        spawn_local(async move {
            self.context.log.wait_for_room().await;
            self.log_end(event, bytes, &end);
        });
    }

    /// Records the end that a panic is, which waits for nothing.
    pub(in crate::session) fn end_in_panic(
        &mut self,
        event: Event,
        bytes: (u64, u64),
        phase: EndPhase,
    ) {
        let end = End::new(EndBy::Proxy, phase, EndCause::Error).with(PANICKED);
        self.log_end(event, bytes, &end);
    }

    /// Writes the one entry and counts the one end of this connection.
    fn log_end(&mut self, event: Event, bytes: (u64, u64), end: &End) {
        // First, so that a panic in what follows is not recorded again.
        self.ended = true;
        let context = &self.context;
        context.metrics.count_end(end.by, end.phase, end.cause);
        match event {
            Event::Reject => context.metrics.count_reject(end.cause.as_str()),
            Event::Probe => self.origin.metrics.probes_total.inc(),
            Event::Connect | Event::Disconnect => {}
        }
        if context.log.wants(event) {
            let mut entry = self.entry(event);
            entry.duration_ms = Some(self.accepted.elapsed());
            (entry.bytes_in, entry.bytes_out) = (Some(bytes.0), Some(bytes.1));
            entry.end_by = Some(end.by);
            entry.end_phase = Some(end.phase);
            entry.end_cause = Some(end.cause);
            entry.detail = end.detail.as_deref();
            context.log.write(&entry);
        }
    }

    fn entry(&self, event: Event) -> Entry<'_> {
        let origin = &self.origin;
        let now = self.context.reactor.wall_clock();
        let mut entry = Entry::new(now, event, self.session, &origin.name, origin.transport);
        entry.client = self.source.address();
        if let Some(wrapping) = &self.wrapping {
            entry.peer = wrapping.peer;
        }
        if let Some(tls) = self.tls() {
            entry.tls_version = tls.version.as_deref();
            entry.tls_cipher = tls.cipher.as_deref();
            entry.sni = tls.sni.as_deref();
            entry.tls_cn = tls.common_name.as_deref();
        }
        if let Some(client) = &self.client {
            entry.protocol_name = Some(client.version.protocol_name());
            entry.protocol_version = Some(client.version.level());
            entry.bridge = Some(client.bridge);
            entry.client_id = Some(client.client_id());
            entry.username = client.username();
            entry.has_password = Some(client.has_password);
            entry.clean_start = Some(client.clean_start);
            entry.keepalive = Some(client.keep_alive);
            entry.will = Some(client.will);
            entry.session_expiry = client.session_expiry;
            entry.pool = Some(&self.origin.pool.pool.name);
        }
        if let Some(way) = &self.way {
            entry.upstream = Some(&way.endpoint.name);
            entry.upstream_address = way.address();
            entry.route = Some(way.route);
            entry.dial_ms = Some(way.dial.into());
        }
        entry.tries = (self.tries > 0).then_some(self.tries.into());
        if let Some(answer) = &self.answer {
            entry.connack = Some(answer.code);
            entry.connack_reason = Some(reason::name(answer.version, answer.code));
            entry.assigned_client_id = answer.assigned_client_id();
            entry.connack_malformed = answer.malformed();
            entry.session_present = answer.session_present;
            entry.connack_ms = answer.waited.map(Duration::from);
        }
        entry.queue_ms = self.queued.map(Duration::from);
        entry.handshake_ms = self.handshake.map(Duration::from);
        entry
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended && std::thread::panicking() {
            let bytes = self.handshake_bytes();
            self.end_in_panic(Event::Reject, bytes, self.phase());
        }
        self.context.finish();
        self.origin.metrics.connections_active.dec();
    }
}
