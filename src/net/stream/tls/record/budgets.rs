//! How much fruitless traffic a peer may send. The numbers are those of rustls and BoringSSL.

use rustls::PeerMisbehaved;
use serde::{Deserialize, Serialize};

const EMPTY_RECORDS: u8 = 32;
const WARNING_ALERTS: u8 = 4;
const RENEGOTIATION_REQUESTS: u8 = 1;
const KEY_UPDATES: u8 = 32;

/// What the peer may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Budgets {
    /// Records without plaintext in a row.
    empty_records: u8,
    warning_alerts: u8,
    renegotiation_requests: u8,
    /// Key updates without application data between them.
    key_updates: u8,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            empty_records: EMPTY_RECORDS,
            warning_alerts: WARNING_ALERTS,
            renegotiation_requests: RENEGOTIATION_REQUESTS,
            key_updates: KEY_UPDATES,
        }
    }
}

impl Budgets {
    pub(super) fn take_record(&mut self, plaintext: &[u8]) -> Result<(), PeerMisbehaved> {
        if plaintext.is_empty() {
            return take(&mut self.empty_records, PeerMisbehaved::TooManyEmptyFragments);
        }
        self.empty_records = EMPTY_RECORDS;
        Ok(())
    }

    pub(super) fn take_warning_alert(&mut self) -> Result<(), PeerMisbehaved> {
        take(&mut self.warning_alerts, PeerMisbehaved::TooManyWarningAlertsReceived)
    }

    pub(super) fn take_renegotiation_request(&mut self) -> Result<(), PeerMisbehaved> {
        take(&mut self.renegotiation_requests, PeerMisbehaved::TooManyRenegotiationRequests)
    }

    pub(super) fn take_key_update(&mut self) -> Result<(), PeerMisbehaved> {
        take(&mut self.key_updates, PeerMisbehaved::TooManyKeyUpdateRequests)
    }

    pub(super) fn note_application_data(&mut self) {
        self.key_updates = KEY_UPDATES;
    }
}

fn take(left: &mut u8, error: PeerMisbehaved) -> Result<(), PeerMisbehaved> {
    *left = left.checked_sub(1).ok_or(error)?;
    Ok(())
}
