//! An outage of a pool: clients are refused because every broker fails them.

use std::time::{Duration, Instant};

use super::effects::PoolEvent;

/// The number of clients that reachable brokers have to leave unanswered: a single client may send
/// a packet on which every broker closes the connection.
const MIN_UNANSWERED_CLIENTS: usize = 3;

/// The interval at which the number of refused clients is logged.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);

/// How long an outage of reachable brokers lasts after the last refused client: if the brokers do
/// not answer the proxy's own CONNECT, only clients can show that it has ended.
const QUIET_TIME: Duration = Duration::from_mins(1);

/// How all brokers failed a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllBrokersFailed {
    /// No broker could be reached, which no client can cause.
    Unreachable,
    /// At least one broker received the CONNECT and did not answer. The number identifies the
    /// client.
    Unanswered(u64),
}

#[derive(Debug)]
pub(super) struct Outage {
    /// When the first client was refused, and the last.
    pub(super) since: Instant,
    last: Instant,
    pub(super) refused: u64,
    unreachable: bool,
    /// Clients that were left unanswered, at most [`MIN_UNANSWERED_CLIENTS`].
    unanswered: Vec<u64>,
    declared: Option<DeclaredOutage>,
}

/// The proxy's own probes were not answered by any broker either: the pool serves no client.
#[derive(Debug)]
struct DeclaredOutage {
    /// The last error of the first broker.
    error: String,
    /// When it was last logged, and how many clients had been refused then.
    logged: Instant,
    refused_then: u64,
}

impl Outage {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            last: now,
            refused: 0,
            unreachable: false,
            unanswered: Vec::new(),
            declared: None,
        }
    }

    /// An outage that another process has declared. `needs_connect`: brokers could be reached.
    pub(super) fn declared(
        since: Instant,
        refused: u64,
        error: String,
        needs_connect: bool,
        now: Instant,
    ) -> Self {
        // The clients are not known here; it matters only how many they are.
        let clients = if needs_connect { MIN_UNANSWERED_CLIENTS as u64 } else { 0 };
        let unanswered = (0..clients).collect();
        let declared = Some(DeclaredOutage { error, logged: now, refused_then: refused });
        Self { since, last: now, refused, unreachable: !needs_connect, unanswered, declared }
    }

    /// Counts a refused client.
    pub(super) fn record_refusal(&mut self, how: AllBrokersFailed, now: Instant) {
        (self.last, self.refused) = (now, self.refused.saturating_add(1));
        match how {
            AllBrokersFailed::Unreachable => self.unreachable = true,
            AllBrokersFailed::Unanswered(client) => {
                let is_new = !self.unanswered.contains(&client);
                if is_new && self.unanswered.len() < MIN_UNANSWERED_CLIENTS {
                    self.unanswered.push(client);
                }
            }
        }
    }

    /// Whether a probe has to send a CONNECT, because reachable brokers do not answer.
    pub(super) fn needs_connect(&self) -> bool {
        self.unanswered.len() >= MIN_UNANSWERED_CLIENTS
    }

    /// Whether the proxy has to probe the brokers itself.
    pub(super) fn is_probing_due(&self) -> bool {
        self.unreachable || self.needs_connect() || self.declared.is_some()
    }

    pub(super) fn is_declared(&self) -> bool {
        self.declared.is_some()
    }

    /// The error of the declared outage.
    pub(super) fn error(&self) -> Option<&str> {
        self.declared.as_ref().map(|declared| &*declared.error)
    }

    /// Declares the outage, or updates its error; true if it has just been declared.
    pub(super) fn declare(&mut self, error: String, now: Instant) -> bool {
        let (logged, refused_then) = match &self.declared {
            Some(before) => (before.logged, before.refused_then),
            None => (now, self.refused),
        };
        self.declared.replace(DeclaredOutage { error, logged, refused_then }).is_none()
    }

    /// The part of the outage that remains once a broker was reached without a CONNECT: a
    /// connection does not disprove that clients were left unanswered.
    pub(super) fn only_unanswered(self, now: Instant) -> Option<Self> {
        let Self { unanswered, .. } = self;
        let refused = unanswered.len() as u64;
        (refused > 0).then(|| Self { refused, unanswered, ..Self::new(now) })
    }

    /// Whether clients that could reach a broker have stopped connecting.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        !self.unreachable && now.saturating_duration_since(self.last) >= QUIET_TIME
    }

    /// The reminder to log now, if clients have been refused since the last one.
    pub(super) fn take_reminder(&mut self, now: Instant) -> Option<PoolEvent> {
        let (refused, since) = (self.refused, self.since);
        let declared = self.declared.as_mut()?;
        let is_due = now.saturating_duration_since(declared.logged) >= REPEAT_INTERVAL;
        if !is_due || refused <= declared.refused_then {
            return None;
        }
        (declared.logged, declared.refused_then) = (now, refused);
        let span = now.saturating_duration_since(since);
        let error = declared.error.clone();
        Some(PoolEvent::StillServesNobody { refused, span, error })
    }
}
