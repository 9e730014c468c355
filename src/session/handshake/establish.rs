//! From the broker's CONNACK to the relay, or from its connection if TLS is passed through.

use std::rc::Rc;

use tokio::task::spawn_local;

use crate::{
    limits::ConnectionPermit,
    listener::ListenerSettings,
    net::Stream,
    proto::mqtt::{Connack, Connect, Version, connack},
    session::{
        active::{ActiveSession, IdleLimit},
        broker_search::BrokerAnswer,
        clients::ReplacedSession,
        context::WorkerContext,
        counters::SessionCounters,
        pending::PendingClient,
        record::Record,
        relay::{BrokerPackets, ClientPackets, Relay, RelayedChunk},
    },
    upstream::Lease,
};

/// The keep alive of a client that has turned it off (5.0 §3.1.2.10), or whose CONNECT is not read.
const NO_KEEP_ALIVE: u16 = 0;

/// The initial state of the relay, once a broker has answered the client.
pub(super) struct RelayStart {
    upstream: Stream,
    lease: Lease,
    /// What the client is sent first: the CONNACK and what followed it.
    reply: Vec<u8>,
    /// Bytes passed on once the client has the reply: from the client, and to it.
    bytes: (u64, u64),
    packets: (Option<ClientPackets>, Option<BrokerPackets>),
    idle_limit: IdleLimit,
}

/// The relay of TLS that is passed through: the broker has the ClientHello, and nothing has been
/// sent to the client.
pub(super) fn pass_through(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    answer: BrokerAnswer,
) -> RelayStart {
    let BrokerAnswer { upstream, lease, bytes: reply, .. } = answer;
    let bytes = (client.received_bytes() as u64, reply.len() as u64);
    let idle_limit = idle_limit(client, settings, NO_KEEP_ALIVE);
    RelayStart { upstream, lease, reply, bytes, packets: (None, None), idle_limit }
}

/// The relay of a client that a broker has answered with a CONNACK.
pub(super) fn pass_answer(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    connect: &Connect,
    answer: BrokerAnswer,
) -> RelayStart {
    let accepted = answer.is_accepted();
    let BrokerAnswer { upstream, lease, connack, bytes: mut reply } = answer;
    if let Some(connack) = &connack
        && accepted
        && connect.version == Version::V5
    {
        tell_client_id(client, connect, connack, &mut reply);
    }
    let (exchanged_in, exchanged_out) = client.record.handshake_bytes();
    let bytes = (exchanged_in + client.received_bytes() as u64, exchanged_out + reply.len() as u64);
    let by_broker = connack.and_then(|connack| connack.server_keep_alive);
    let idle_limit = idle_limit(client, settings, by_broker.unwrap_or(connect.keep_alive));
    // What the client sent during an authentication exchange was not followed.
    let mut client_packets = ClientPackets::new(connect.version, exchanged_in == 0);
    let pipelined = client.buffer.get(connect.len..).unwrap_or_default();
    client_packets.note(&RelayedChunk::Bytes(pipelined), &client.record, &idle_limit);
    let has_key_limit = client.stream.key_use().or(upstream.key_use()).is_some();
    let mut broker_packets = BrokerPackets::new(connect.version, has_key_limit);
    if let Some(packets) = &mut broker_packets {
        packets.note(&RelayedChunk::Bytes(&reply), &client.record);
    }
    let packets = (Some(client_packets), broker_packets);
    RelayStart { upstream, lease, reply, bytes, packets, idle_limit }
}

/// `keep_alive`: the value in force, in seconds.
fn idle_limit(
    client: &PendingClient<'_>,
    settings: &ListenerSettings,
    keep_alive: u16,
) -> IdleLimit {
    let idle = settings.idle.unwrap_or(client.context.timeouts.get().idle);
    IdleLimit::new(idle, keep_alive)
}

/// Adds the ID that the proxy assigned to the CONNACK (5.0 §3.2.2.3.7), unless the packet would be
/// longer than the client accepts.
fn tell_client_id(
    client: &PendingClient<'_>,
    connect: &Connect,
    connack: &Connack,
    reply: &mut Vec<u8>,
) {
    let facts = client.record.identity.as_ref();
    if let Some(id) = facts.and_then(|facts| facts.assigned_client_id.as_deref()) {
        connack::add_assigned_client_id(reply, connack.len, id, connect.maximum_packet_size);
    }
}

/// Sends the client its answer, and starts its relay in a task of its own, so that an idle session is
/// only as large as the relay.
pub(super) fn start_relay(
    context: &Rc<WorkerContext>,
    client: Stream,
    record: Record,
    permit: ConnectionPermit,
    start: RelayStart,
    mut replaced: Vec<ReplacedSession>,
) {
    let RelayStart { upstream, lease, reply, bytes, packets, idle_limit } = start;
    upstream.ignore_tickets();
    let accepted = record.is_accepted();
    if !accepted {
        // Otherwise failed logins that stay connected would lock out the user they name.
        permit.leave_quotas();
        replaced.retain(|replaced| replaced.until_closed);
    }
    let session = ActiveSession {
        counters: SessionCounters::default(),
        idle_limit,
        client,
        upstream,
        record,
        // Set by the table.
        slot: 0,
        lease,
        permit,
    };
    // In the directory before the client has its CONNACK: its next connection may follow at once,
    // and has to find this session to replace it at a limit.
    let mut relay = Relay::new(context.clone(), session, packets);
    let begun = relay.begin(&reply, bytes);
    context.give_back_buffer(reply);
    if let Err(end) = begun {
        return relay.reject(end);
    }
    if accepted || replaced.is_empty() {
        spawn_local(relay);
    } else {
        // A refused session counts towards the limit until it has closed; until then, no other
        // session may replace the same older one.
        return drop(spawn_local(async move {
            relay.await;
            drop(replaced);
        }));
    }
    if !replaced.is_empty() {
        context.clients.end_replaced(replaced);
    }
}
