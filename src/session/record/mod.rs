//! What is known about a connection, in compact form, and the log entries made from it.

mod client;
mod connack;
mod entry;
mod identity_facts;
mod lines;
mod micros;
mod recorder;
mod route_taken;
mod shared_facts;
mod state;
mod transport;

pub(crate) use client::ClientInfo;
pub(crate) use connack::ConnackSent;
pub(crate) use identity_facts::{IdentityFacts, SentNames};
pub(crate) use recorder::Recorder;
pub(crate) use route_taken::RouteTaken;
pub(crate) use state::{ListenerState, RecordState, RouteState};
pub(crate) use transport::TransportInfo;

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::pool_view::PoolView;
use crate::{
    labels::{EndPhase, Transport},
    metrics::ListenerMetrics,
    net::PeerAddress,
    proto::{
        CertificateFacts, TlsFacts,
        client_hello::ClientHello,
        mqtt::Connect,
        proxy_header::{Header, HeaderAddresses, KeptTlvs},
    },
    template::ClientFields,
};
use micros::Micros;

/// The listener of a connection, as of accept, and the rule that has decided about it. Sessions keep
/// it, so it is small.
pub(crate) struct ListenerRef {
    /// As [`Listener::id`](crate::listener::Listener::id): a reload can change the name.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    /// As [`ListenerSettings::transport`](crate::listener::ListenerSettings::transport).
    pub(crate) transport: Transport,
    pub(crate) pool: Rc<PoolView>,
    /// The rule that has decided about its clients; `None` if none holds.
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) metrics: ListenerMetrics,
}

/// The facts of one connection, filled in as they become known. The connection counts as unfinished
/// until its record is dropped. [`Self::end`] records the end; if a panic drops the record, the
/// panic is recorded as the end.
pub(crate) struct Record {
    recorder: Rc<Recorder>,
    ended: bool,
    pub(crate) session_id: u64,
    pub(crate) listener: Rc<ListenerRef>,
    /// The client's address: the socket's peer, or the address named by a trusted proxy in front.
    pub(crate) source: PeerAddress,
    /// What is known about the client from TLS, terminated here or at a proxy in front. Shared, as
    /// it is the same for most clients of a listener.
    tls: Option<Rc<TlsFacts>>,
    /// `None` for a connection that has only MQTT, or MQTT over TLS.
    pub(crate) transport: Option<Box<TransportInfo>>,
    pub(crate) accepted: Instant,
    /// What the broker is sent about the client.
    pub(crate) client: Option<ClientInfo>,
    /// Boxed, as few listeners and pools need it.
    pub(crate) identity: Option<Box<IdentityFacts>>,
    pub(crate) route: Option<RouteTaken>,
    pub(crate) connack: Option<ConnackSent>,
    /// The code of the client's DISCONNECT; `None` if it was not seen.
    pub(crate) client_disconnect: Cell<Option<u8>>,
    /// The code of the broker's DISCONNECT; `None` if it was not seen.
    pub(crate) broker_disconnect: Cell<Option<u8>>,
    /// The number of brokers tried.
    pub(crate) tries: u8,
    /// Bytes from the client before its session began; during the broker search, only the bytes of
    /// an authentication exchange (5.0 §4.12).
    pub(crate) read: u32,
    /// Bytes to the client before its CONNACK, all from an authentication exchange.
    pub(crate) sent: u32,
    /// The time from accept until the CONNECT, or the ClientHello that is passed through, was
    /// complete.
    handshake: Option<Micros>,
    /// Time spent in admission queues; `None` if the client did not have to wait.
    queued: Option<Micros>,
}

impl Record {
    pub(crate) fn new(
        recorder: &Rc<Recorder>,
        listener: Rc<ListenerRef>,
        peer: PeerAddress,
    ) -> Self {
        listener.metrics.connections_total.inc();
        listener.metrics.connections_active.inc();
        Self {
            recorder: recorder.clone(),
            ended: false,
            session_id: recorder.begin(),
            listener,
            source: peer,
            tls: None,
            transport: None,
            accepted: Instant::now(),
            client: None,
            identity: None,
            route: None,
            connack: None,
            client_disconnect: Cell::new(None),
            broker_disconnect: Cell::new(None),
            tries: 0,
            read: 0,
            sent: 0,
            handshake: None,
            queued: None,
        }
    }

    /// Takes the client's address and TLS facts from a PROXY header, and the TLVs that are kept.
    pub(crate) fn apply_proxy_header(&mut self, header: Header, tlvs: Option<Box<KeptTlvs>>) {
        self.tls = header.tls.map(|facts| self.recorder.tls_facts.share(facts));
        let mut transport = TransportInfo { tlvs, ..TransportInfo::default() };
        transport.destination = header.addresses.map(|addresses| addresses.destination);
        self.transport = Some(Box::new(transport));
        if let Some(HeaderAddresses { source, .. }) = header.addresses {
            self.set_named_client(source);
        }
    }

    /// Records what the TLS handshake has shown about the client.
    pub(crate) fn set_tls(&mut self, facts: TlsFacts) {
        self.tls = Some(self.recorder.tls_facts.share(facts));
    }

    /// Replaces the peer by the client named by a trusted proxy in front.
    pub(crate) fn set_named_client(&mut self, client: SocketAddr) {
        let transport = self.transport.get_or_insert_default();
        transport.peer = transport.peer.or(self.source.address());
        self.source = PeerAddress::Ip(client);
    }

    /// Records the complete CONNECT, at the start of `packet`.
    pub(crate) fn set_connect(&mut self, connect: &Connect, packet: &[u8]) {
        self.set_handshake_time();
        self.client = Some(ClientInfo::new(connect, packet));
        if let Some(violation) = connect.violation(packet) {
            self.identity.get_or_insert_default().violation = Some(violation.to_string().into());
        }
    }

    /// Records the complete ClientHello of a client whose TLS is passed through.
    pub(crate) fn set_client_hello(&mut self, hello: ClientHello) {
        self.set_handshake_time();
        self.set_tls(TlsFacts { sni: hello.server_name, ..TlsFacts::default() });
    }

    fn set_handshake_time(&mut self) {
        let took = self.accepted.elapsed();
        self.handshake = Some(took.into());
        self.listener.metrics.handshake_seconds.observe(took.as_secs_f64());
    }

    /// Forgets the username, which is a secret: no log, answer or template has it.
    pub(crate) fn hide_username(&mut self) {
        if let Some(client) = &mut self.client {
            client.hide_username();
        }
    }

    /// Records that the broker is sent other names than the client has sent.
    pub(crate) fn set_rewritten(&mut self, mut client: ClientInfo, sent: SentNames) {
        client.has_password = self.client.as_ref().is_some_and(|sent| sent.has_password);
        self.client = Some(client);
        self.identity.get_or_insert_default().sent = Some(sent);
    }

    /// The client ID and the username, as the client sent them.
    pub(crate) fn sent_names(&self) -> Option<(&str, Option<&str>)> {
        match self.identity.as_ref().and_then(|facts| facts.sent.as_ref()) {
            Some(sent) => Some((&sent.client_id, sent.username.as_deref())),
            None => self.client.as_ref().map(|client| (client.client_id(), client.username())),
        }
    }

    /// The ID that was assigned to a client without one, by the proxy or by its 5.0 broker.
    pub(crate) fn assigned_client_id(&self) -> Option<&str> {
        let by_proxy = self.identity.as_ref().and_then(|facts| facts.assigned_client_id.as_deref());
        by_proxy.or_else(|| self.connack.as_ref()?.assigned_client_id())
    }

    /// When the CONNECT was complete; `None` before.
    pub(crate) fn connect_time(&self) -> Option<Instant> {
        self.handshake.map(|took| self.accepted + Duration::from(took))
    }

    /// Adds time spent in an admission queue.
    pub(crate) fn add_wait(&mut self, waited: Duration) {
        let before = self.queued.map_or(Duration::ZERO, Duration::from);
        self.queued = Some((before + waited).into());
    }

    /// The address for limits and hashing; `None` on a unix socket.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.source.ip()
    }

    /// The transport of this connection, as far as it is known.
    pub(crate) fn transport_kind(&self) -> Transport {
        let of_listener = self.listener.transport;
        match &self.transport {
            Some(info) if info.chose_websocket => of_listener.with_websocket(),
            _ => of_listener,
        }
    }

    /// The path of the WebSocket request, without the query; `None` before it is accepted, and
    /// without WebSocket.
    pub(crate) fn path(&self) -> Option<&str> {
        self.transport.as_ref()?.path.as_deref()
    }

    /// The TLVs that are kept of the connection's PROXY header.
    pub(crate) fn proxy_tlvs(&self) -> Option<&KeptTlvs> {
        self.transport.as_ref()?.tlvs.as_deref()
    }

    /// What is known about the client from TLS, terminated here or at a proxy in front.
    pub(crate) fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_deref()
    }

    /// The input to broker selection, for what the broker is sent.
    pub(crate) fn fields(&self) -> ClientFields<'_> {
        let client = self.client.as_ref();
        self.for_route(
            client.map_or("", ClientInfo::client_id),
            client.and_then(ClientInfo::username),
        )
    }

    /// Whether the client's TLS is passed through, so that its CONNECT is not read.
    pub(crate) fn is_passed_through(&self) -> bool {
        self.listener.transport == Transport::TlsPassthrough
    }

    /// The input to broker selection, for a client with this ID and username.
    pub(crate) fn for_route<'a>(
        &'a self,
        client_id: &'a str,
        username: Option<&'a str>,
    ) -> ClientFields<'a> {
        let tls = self.tls();
        let certificate = tls.and_then(|tls| tls.certificate.as_deref());
        let names = |of: fn(&CertificateFacts) -> &[Box<str>]| certificate.map_or(&[][..], of);
        ClientFields {
            client_id,
            username,
            source_ip: self.client_ip(),
            tls_cn: tls.and_then(TlsFacts::common_name),
            tls_san_dns: names(|facts| &facts.san_dns),
            tls_san_uri: names(|facts| &facts.san_uri),
            tls_san_email: names(|facts| &facts.san_email),
            tls_serial: certificate.and_then(|facts| facts.serial.as_deref()),
            tls_fingerprint: certificate.and_then(|facts| facts.fingerprint.as_deref()),
            sni: tls.and_then(|tls| tls.sni.as_deref()),
            listener: Some(&self.listener.name),
            protocol_version: self.client.as_ref().map(|client| client.version.level()),
            tls_passthrough: self.is_passed_through(),
            claims: self.identity.as_ref().map_or(&[], |facts| &facts.claims),
        }
    }

    /// Whether the broker has accepted the client, once its session has begun; a broker that got a
    /// ClientHello in place of a CONNECT has.
    pub(crate) fn is_accepted(&self) -> bool {
        self.connack.as_ref().is_none_or(|connack| connack.code == 0)
    }

    /// Bytes from the client and to it before its session began, without the CONNACK.
    pub(crate) fn handshake_bytes(&self) -> (u64, u64) {
        (self.read.into(), self.sent.into())
    }

    /// The phase that the handshake has reached.
    fn phase(&self) -> EndPhase {
        match (&self.handshake, &self.route) {
            (None, _) if self.read == 0 || self.is_passed_through() => EndPhase::Handshake,
            (None, _) => EndPhase::Connect,
            (Some(_), None) => EndPhase::Dial,
            (Some(_), Some(_)) => EndPhase::Connack,
        }
    }
}
