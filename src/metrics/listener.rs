//! The metrics of listeners.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::{
    families::HANDSHAKE_BUCKETS,
    owned::{Declarations, Family, Registration, ScopedSample},
};

/// The label of sessions whose TLS is passed through, in place of their protocol level.
const HIDDEN_VERSION: &str = "passthrough";

/// One listener's metrics, exposed while this or another one with the same name exists.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    pub connections_total: IntCounter,
    pub connections_active: IntGauge,
    pub probes_total: IntCounter,
    pub denied_total: IntCounter,
    pub handshake_seconds: Histogram,
    sessions_by_version: [IntCounter; 3],
    sessions: Family<IntCounter>,
    identity_refused: Family<IntCounter>,
    rules: Family<IntCounter>,
    registration: Registration,
}

impl ListenerMetrics {
    /// Sessions so far, by protocol level.
    pub(crate) fn session_counts(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = self.registration.by_word::<IntCounter>(self.sessions);
        counts.into_iter().map(|(version, count)| (version, count.get()))
    }

    /// Counts a client that a key of the listener, such as `require[0]`, has refused.
    pub(crate) fn count_identity_refused(&self, rule: &str) {
        let refused: IntCounter = self.registration.sample(self.identity_refused, Some(rule));
        refused.inc();
    }

    /// How many clients a rule has decided about; exposed while this exists.
    pub(crate) fn rule(&self, name: &str) -> ScopedSample<IntCounter> {
        self.registration.scoped_sample(self.rules, Some(name))
    }

    /// Counts a session of protocol level 3, 4 or 5; `None` if its TLS is passed through, which hides
    /// the level.
    pub fn count_session(&self, version: Option<u8>) {
        let Some(version) = version else {
            let hidden = Some(HIDDEN_VERSION);
            let sessions: IntCounter = self.registration.sample(self.sessions, hidden);
            return sessions.inc();
        };
        let at = usize::from(version).checked_sub(3);
        if let Some(sessions) = at.and_then(|at| self.sessions_by_version.get(at)) {
            sessions.inc();
        }
    }
}

/// The families that have samples for each listener.
#[derive(Clone, Copy)]
pub(super) struct ListenerFamilies {
    connections: Family<IntCounter>,
    connections_active: Family<IntGauge>,
    probes: Family<IntCounter>,
    denied: Family<IntCounter>,
    sessions: Family<IntCounter>,
    handshake: Family<Histogram>,
    identity_refused: Family<IntCounter>,
    rules: Family<IntCounter>,
}

impl ListenerFamilies {
    pub(super) fn new(families: &mut Declarations) -> Self {
        let listener: &[_] = &["listener"];
        Self {
            connections: families.add("connections_total", "Connections accepted.", listener),
            connections_active: families.add(
                "connections_active",
                "Connections open now.",
                listener,
            ),
            probes: families.add(
                "probes_total",
                "Connections that clients closed before they sent anything.",
                listener,
            ),
            denied: families.add(
                "denied_total",
                "Connections closed because of the listener's allow or deny.",
                listener,
            ),
            sessions: families.add(
                "sessions_total",
                "Clients connected to a broker, by protocol level; passthrough where TLS hides it.",
                &["listener", "version"],
            ),
            handshake: families.add_with_buckets(
                "handshake_seconds",
                "Time from accept to the complete CONNECT.",
                listener,
                HANDSHAKE_BUCKETS,
            ),
            identity_refused: families.add(
                "identity_refused_total",
                "Clients refused for their identity, by the key of the listener that refused them.",
                &["listener", "rule"],
            ),
            rules: families.add(
                "rules_total",
                "Clients that a rule of the listener has decided about.",
                &["listener", "rule"],
            ),
        }
    }

    /// The metrics of one listener.
    pub(super) fn of(self, registration: Registration) -> ListenerMetrics {
        let of = &registration;
        ListenerMetrics {
            connections_total: of.sample(self.connections, None),
            connections_active: of.sample(self.connections_active, None),
            sessions_by_version: ["3", "4", "5"]
                .map(|version| of.sample(self.sessions, Some(version))),
            sessions: self.sessions,
            probes_total: of.sample(self.probes, None),
            denied_total: of.sample(self.denied, None),
            handshake_seconds: of.sample(self.handshake, None),
            identity_refused: self.identity_refused,
            rules: self.rules,
            registration,
        }
    }
}
