//! What changes during a session, and its form that another process can continue.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use crate::labels::{EndBy, EndCause, StayReason};

/// What changes during a session. Times are in seconds, as counted by
/// [`WorkerContext::seconds`](super::context::WorkerContext::seconds).
#[derive(Default)]
pub(crate) struct SessionCounters {
    /// Bytes from the client, since accept.
    pub(crate) bytes_in: Cell<u64>,
    /// Bytes to the client, since accept.
    pub(crate) bytes_out: Cell<u64>,
    /// How much of `bytes_in` and `bytes_out` has been added to the metrics.
    pub(super) flushed: Cell<(u64, u64)>,
    /// The second in which data last arrived.
    pub(super) last_active: Cell<u32>,
    /// The side that does not read; the proxy therefore does not read from the other side either.
    pub(super) held_back_by: Cell<Option<EndBy>>,
    /// The second in which the first side closed; 0 while both are open.
    pub(crate) half_closed: Cell<u32>,
    /// Set by the proxy when it ends the session.
    pub(crate) end_requested: Cell<Option<EndCause>>,
    /// The sweeps since the session has to end as soon as the packets under way are complete; 0: it
    /// does not.
    pub(crate) last_packet_sweeps: Cell<u8>,
    /// Whether the TCP options of the broker's socket have been set.
    pub(super) has_tcp_options: Cell<bool>,
    /// Whether a newer connection of its client was there when its broker ended it.
    pub(crate) displaced: Cell<bool>,
    /// Whether it is queued to be ended because its broker is down or was removed.
    pub(crate) queued_to_end: Cell<bool>,
    /// How far it is on its way to another process.
    pub(crate) departure: Cell<Departure>,
}

/// How far a session is on its way to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Departure {
    #[default]
    NotAsked,
    /// Its relay parks it after its next step.
    Asked,
    /// It is neither read nor written: the other process has not answered yet, or in that process
    /// the session has not been started.
    Parked,
    /// The other process has it.
    Moved,
    Stays(StayReason),
}

/// The counters of a session, with ages in place of times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CountersState {
    bytes_in: u64,
    bytes_out: u64,
    flushed: (u64, u64),
    /// The seconds since data last arrived.
    silent_for: u32,
    held_back_by: Option<EndBy>,
    /// The seconds since the first side closed.
    half_closed_for: Option<u32>,
    has_tcp_options: bool,
    displaced: bool,
}

impl SessionCounters {
    /// The counters of a session that does not end, in this second.
    pub(crate) fn capture(&self, now: u32) -> CountersState {
        let Self {
            bytes_in,
            bytes_out,
            flushed,
            last_active,
            held_back_by,
            half_closed,
            // A session that has to end stays.
            end_requested: _,
            last_packet_sweeps: _,
            has_tcp_options,
            displaced,
            // The other process decides by its own brokers.
            queued_to_end: _,
            departure: _,
        } = self;
        CountersState {
            bytes_in: bytes_in.get(),
            bytes_out: bytes_out.get(),
            flushed: flushed.get(),
            silent_for: now.saturating_sub(last_active.get()),
            held_back_by: held_back_by.get(),
            half_closed_for: Some(half_closed.get())
                .filter(|at| *at > 0)
                .map(|at| now.saturating_sub(at)),
            has_tcp_options: has_tcp_options.get(),
            displaced: displaced.get(),
        }
    }

    /// The counters of a session that has moved here, in this second. It is parked until it is
    /// started.
    pub(crate) fn restore(state: &CountersState, now: u32) -> Self {
        let CountersState {
            bytes_in,
            bytes_out,
            flushed,
            silent_for,
            held_back_by,
            half_closed_for,
            has_tcp_options,
            displaced,
        } = *state;
        // At least 1, as 0 means that both sides are open.
        let half_closed = half_closed_for.map_or(0, |seconds| now.saturating_sub(seconds).max(1));
        Self {
            bytes_in: Cell::new(bytes_in),
            bytes_out: Cell::new(bytes_out),
            flushed: Cell::new(flushed),
            last_active: Cell::new(now.saturating_sub(silent_for)),
            held_back_by: Cell::new(held_back_by),
            half_closed: Cell::new(half_closed),
            end_requested: Cell::new(None),
            last_packet_sweeps: Cell::new(0),
            has_tcp_options: Cell::new(has_tcp_options),
            displaced: Cell::new(displaced),
            queued_to_end: Cell::new(false),
            departure: Cell::new(Departure::Parked),
        }
    }

    /// Whether nothing may be read from or written to its connections now.
    pub(crate) fn is_parked(&self) -> bool {
        matches!(self.departure.get(), Departure::Parked | Departure::Moved)
    }
}
