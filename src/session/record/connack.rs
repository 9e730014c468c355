//! The CONNACK that a client got, kept small.

use std::time::Duration;

use super::micros::Micros;
use crate::proto::mqtt::{self, Connack, Malformed, Version};

/// What the broker, or this proxy in its place, answered.
#[derive(Clone)]
pub(in crate::session) struct ConnackSent {
    pub(in crate::session) code: u8,
    /// The version that the code is of.
    pub(in crate::session) version: Version,
    pub(in crate::session) session_present: Option<bool>,
    /// Boxed, as few answers have any of it.
    rare: Option<Box<Rare>>,
    /// From CONNECT sent to CONNACK seen; `None` for an answer of the proxy's own.
    pub(in crate::session) waited: Option<Micros>,
}

/// What few CONNACKs have.
#[derive(Clone)]
struct Rare {
    assigned_client_id: Option<Box<str>>,
    /// What in the packet breaks the standard.
    malformed: Option<Malformed>,
}

impl ConnackSent {
    pub(in crate::session) fn of_broker(
        version: Version,
        connack: &Connack,
        packet: &[u8],
        waited: Duration,
    ) -> Self {
        let rare = Rare {
            assigned_client_id: connack.assigned_client_id.map(|id| id.of(packet).into()),
            malformed: connack.malformed,
        };
        let is_there = rare.assigned_client_id.is_some() || rare.malformed.is_some();
        Self {
            code: connack.code,
            version,
            session_present: Some(connack.session_present),
            rare: is_there.then(|| Box::new(rare)),
            waited: Some(waited.into()),
        }
    }

    /// What the broker named a client that came without an ID (5.0 §3.2.2.3.7).
    pub(in crate::session) fn assigned_client_id(&self) -> Option<&str> {
        self.rare.as_ref()?.assigned_client_id.as_deref()
    }

    /// What in the broker's CONNACK breaks the standard.
    pub(in crate::session) fn malformed(&self) -> Option<Malformed> {
        self.rare.as_ref()?.malformed
    }

    pub(in crate::session) fn of_proxy(answer: mqtt::ConnackPacket) -> Self {
        Self {
            code: answer.code(),
            version: answer.version(),
            session_present: None,
            rare: None,
            waited: None,
        }
    }
}
