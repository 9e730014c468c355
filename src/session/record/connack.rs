//! The CONNACK that a client received, in compact form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::micros::Micros;
use crate::proto::mqtt::{self, Connack, Version};

/// The CONNACK of the broker, or the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnackSent {
    pub(crate) code: u8,
    /// The MQTT version that defines the code.
    pub(crate) version: Version,
    pub(crate) session_present: Option<bool>,
    /// Boxed, as few CONNACKs have extras.
    extras: Option<Box<ConnackExtras>>,
    /// The time from sending the CONNECT to receiving the CONNACK; `None` for the proxy's own.
    pub(crate) waited: Option<Micros>,
}

/// Facts that few CONNACKs have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ConnackExtras {
    assigned_client_id: Option<Box<str>>,
    /// How the packet violates the standard.
    malformed: Option<Box<str>>,
}

impl ConnackSent {
    pub(crate) fn of_broker(
        version: Version,
        connack: &Connack,
        packet: &[u8],
        waited: Duration,
    ) -> Self {
        let extras = ConnackExtras {
            assigned_client_id: connack.assigned_client_id.map(|id| id.of(packet).into()),
            malformed: connack.malformed.map(|fault| fault.to_string().into()),
        };
        let has_extras = extras.assigned_client_id.is_some() || extras.malformed.is_some();
        Self {
            code: connack.code,
            version,
            session_present: Some(connack.session_present),
            extras: has_extras.then(|| Box::new(extras)),
            waited: Some(waited.into()),
        }
    }

    /// The ID that the broker assigned to a client without one (5.0 §3.2.2.3.7).
    pub(crate) fn assigned_client_id(&self) -> Option<&str> {
        self.extras.as_ref()?.assigned_client_id.as_deref()
    }

    /// How the broker's CONNACK violates the standard.
    pub(crate) fn malformed(&self) -> Option<&str> {
        self.extras.as_ref()?.malformed.as_deref()
    }

    pub(crate) fn of_proxy(packet: mqtt::ConnackPacket) -> Self {
        Self {
            code: packet.code(),
            version: packet.version(),
            session_present: None,
            extras: None,
            waited: None,
        }
    }
}
