//! The generated keys of session tickets, as another process takes them over.

use serde::{Deserialize, Serialize};

use super::Listener;
use crate::tls::HandedTicketKeys;

/// The keys of one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedTickets {
    listener: String,
    keys: HandedTicketKeys,
}

impl HandedTickets {
    /// At least the bytes of its serialized form.
    pub(crate) fn max_bytes(&self) -> usize {
        self.listener.len() + HandedTicketKeys::MAX_BYTES
    }
}

impl Listener {
    /// `None` if its tickets have no generated keys.
    pub(crate) fn hand_over_tickets(&self) -> Option<HandedTickets> {
        let settings = self.settings();
        let keys = settings.tls.as_ref()?.hand_over_tickets()?;
        Some(HandedTickets { listener: settings.name.to_string(), keys })
    }

    /// Goes on with its keys in the process before an upgrade.
    pub(crate) fn take_over_tickets(&self, tickets: &[HandedTickets]) {
        let settings = self.settings();
        let Some(tls) = &settings.tls else { return };
        for handed in tickets.iter().filter(|handed| handed.listener == *settings.name) {
            tls.take_over_tickets(&handed.keys);
        }
    }
}
