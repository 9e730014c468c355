//! A session in its relay phase: its two connections, its counters and its time limits.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use super::{by_age::AgedSession, counters::SessionCounters, record::Record};
use crate::{
    config::{Idle, Timeouts},
    labels::{EndBy, EndCause},
    limits::ConnectionPermit,
    net::{Stream, TcpOptions},
    upstream::Lease,
};

/// Added to 1.5 times the keep alive, so that the broker, which has to enforce it (MQTT-3.1.2-24),
/// acts first.
const IDLE_GRACE_SECONDS: u32 = 5;

/// How many sweeps, one a second, the packets under way may take to be complete; then the session
/// ends within them. A peer that stops in a packet would otherwise hold up the other side.
const MAX_LAST_PACKET_SWEEPS: u8 = 30;

/// A session in its relay phase.
pub(crate) struct ActiveSession {
    pub(crate) counters: SessionCounters,
    pub(crate) idle_limit: IdleLimit,
    pub(crate) client: Stream,
    pub(crate) upstream: Stream,
    pub(crate) record: Record,
    /// Its slot in its worker's [`SessionTable`](super::table::SessionTable).
    pub(crate) slot: u32,
    pub(crate) lease: Lease,
    /// Counts the connection until it is dropped.
    pub(crate) permit: ConnectionPermit,
}

/// No limit: no session is silent for longer.
const UNLIMITED: u32 = u32::MAX;

/// How long a session may be silent, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdleLimit {
    seconds: Cell<u32>,
    /// The longest limit that has applied.
    longest: Cell<u32>,
    /// Whether only data from the client counts: the keep alive binds the client, not the broker.
    pub(crate) client_only: bool,
}

impl IdleLimit {
    /// `keep_alive` is the value in force, in seconds (MQTT 5.0 3.1.2.10 and 3.2.2.3.14).
    pub(crate) fn new(idle: Idle, keep_alive: u16) -> Self {
        let seconds = match idle {
            Idle::Never => UNLIMITED,
            Idle::After(limit) => (limit.as_secs_f64().ceil() as u32).max(1),
            Idle::KeepAlive => keep_alive_limit(keep_alive),
        };
        let client_only = matches!(idle, Idle::KeepAlive);
        Self { seconds: Cell::new(seconds), longest: Cell::new(seconds), client_only }
    }

    /// Applies a keep alive, in seconds, that the client has set while it is connected.
    pub(crate) fn change_keep_alive(&self, keep_alive: u16) {
        if self.client_only {
            let seconds = keep_alive_limit(keep_alive);
            self.seconds.set(seconds);
            self.longest.set(self.longest.get().max(seconds));
        }
    }

    /// Applies the longest limit so far from now on: whether the client changes its keep alive
    /// again will not be seen.
    pub(crate) fn keep_longest(&self) {
        self.seconds.set(self.longest.get());
    }
}

fn keep_alive_limit(keep_alive: u16) -> u32 {
    match keep_alive {
        0 => UNLIMITED,
        seconds => (u32::from(seconds) * 3).div_ceil(2) + IDLE_GRACE_SECONDS,
    }
}

impl ActiveSession {
    /// Counts bytes from the client.
    pub(crate) fn count_in(&self, bytes: u64, now: u32) {
        self.counters.bytes_in.set(self.counters.bytes_in.get() + bytes);
        self.counters.last_active.set(now);
    }

    /// Counts bytes to the client.
    pub(crate) fn count_out(&self, bytes: u64, now: u32) {
        self.counters.bytes_out.set(self.counters.bytes_out.get() + bytes);
        if !self.idle_limit.client_only {
            self.counters.last_active.set(now);
        }
    }

    /// Records which side the proxy does not read from, so that this side does not count as silent:
    /// the client, or with `timeouts.idle` either side.
    pub(crate) fn hold_back(&self, client: bool, upstream: bool, now: u32) {
        let by = match (client, upstream && !self.idle_limit.client_only) {
            (true, _) => Some(EndBy::Upstream),
            (_, true) => Some(EndBy::Client),
            _ => None,
        };
        if self.counters.held_back_by.replace(by).is_some() && by.is_none() {
            self.counters.last_active.set(now);
        }
    }

    /// Adds the bytes relayed since the last call to the broker's metrics.
    pub(crate) fn flush_bytes(&self) {
        let (flushed_in, flushed_out) = self.counters.flushed.get();
        let (bytes_in, bytes_out) = (self.counters.bytes_in.get(), self.counters.bytes_out.get());
        if (bytes_in, bytes_out) != (flushed_in, flushed_out) {
            let metrics = &self.lease.broker().metrics;
            metrics.bytes_in.inc_by(bytes_in.saturating_sub(flushed_in));
            metrics.bytes_out.inc_by(bytes_out.saturating_sub(flushed_out));
            self.counters.flushed.set((bytes_in, bytes_out));
        }
    }

    /// Why the session has to end now, if one of its limits is exceeded.
    pub(crate) fn overdue(&self, timeouts: &Timeouts, now: u32) -> Option<EndCause> {
        if self.ends_after_packets() {
            // The proxy itself reads no further packet, so no side counts as silent.
            let is_late = self.counters.last_packet_sweeps.get() > MAX_LAST_PACKET_SWEEPS;
            return is_late.then_some(EndCause::KeyLimit);
        }
        if let Some(cause) = self.exceeded_idle_limit(now) {
            return Some(cause);
        }
        let expires = self.record.identity.as_ref().and_then(|facts| facts.expires);
        if expires.is_some_and(|at| at <= now) {
            return Some(EndCause::Expired);
        }
        let half_closed = self.counters.half_closed.get();
        let limit = timeouts.half_close.as_secs_f64().ceil() as u32;
        (half_closed > 0 && now - half_closed > limit).then_some(EndCause::Timeout)
    }

    fn exceeded_idle_limit(&self, now: u32) -> Option<EndCause> {
        if now - self.counters.last_active.get() <= self.idle_limit.seconds.get() {
            return None;
        }
        let holds_back = match self.counters.held_back_by.get() {
            None => return Some(EndCause::Idle),
            Some(EndBy::Client) => &self.client,
            Some(_) => &self.upstream,
        };
        // On TCP, `tcp_user_timeout` ends a connection whose peer does not read; unix sockets have
        // no such limit.
        holds_back.socket().is_unix().then_some(EndCause::Timeout)
    }

    /// Whether the session ends as soon as the packets under way are complete.
    pub(crate) fn ends_after_packets(&self) -> bool {
        self.counters.last_packet_sweeps.get() > 0
    }

    /// Makes the relay end the session with this cause.
    pub(crate) fn end(&self, cause: EndCause) {
        self.counters.end_requested.set(Some(cause));
        self.client.wake();
    }

    /// Sets the TCP options that detect a broker that has vanished; returns true the first time.
    /// The options act after many seconds, so the first sweep sets them; the many connections that
    /// end before it save the system calls. The client's socket inherits them from its listener.
    pub(crate) fn set_tcp_options_once(&self, timeouts: &Timeouts) -> bool {
        let is_new = !self.counters.has_tcp_options.replace(true);
        if is_new {
            self.upstream.set_options(TcpOptions::towards_brokers(timeouts));
        }
        is_new
    }

    /// The session's entry in a queue ordered by age.
    pub(crate) fn by_age(&self) -> AgedSession {
        AgedSession {
            accepted: self.record.accepted,
            session_id: self.record.session_id,
            slot: self.slot,
        }
    }
}
