//! The records of an established connection.

use std::rc::Rc;

use rustls::{AlertDescription, Error, Side};

use super::{
    budgets::Budgets,
    fragment::{HandshakeFragment, KEY_UPDATE, KEY_UPDATE_REQUESTED},
    header::{ALERT, APPLICATION_DATA, HANDSHAKE},
    protection::Protection,
    tickets::TicketStore,
    traffic_key::{SEQUENCE_NUMBER_LIMIT, TrafficKey},
};
use crate::{
    net::{aead_keys::AeadKeys, buffer::Buffer, stream::tls::key_use::KeyUse},
    tls::TlsVersion,
};

/// The levels of an alert (RFC 8446, section 6).
pub(super) const WARNING: u8 = 1;
pub(super) const FATAL: u8 = 2;

/// What to encrypt.
#[derive(Clone, Copy)]
pub(in crate::net::stream::tls) enum TlsWrite<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

/// One side of an established connection: its keys and what has to be remembered between records.
pub(in crate::net::stream::tls) struct RecordLayer {
    pub(super) keys: Rc<AeadKeys>,
    pub(super) protection: Protection,
    pub(super) side: Side,
    pub(super) sender: TrafficKey,
    pub(super) receiver: TrafficKey,
    pub(super) key_limit: KeyLimit,
    /// The most plaintext that we put into a record.
    pub(super) max_plaintext_bytes: u16,
    pub(super) budgets: Budgets,
    /// The beginning of a handshake message whose rest has not arrived.
    pub(super) fragment: Option<Box<HandshakeFragment>>,
    /// Keeps the tickets of a broker, while they are expected.
    pub(super) tickets: Option<TicketStore>,
    /// The peer has asked for a key update, which precedes our next record.
    pub(super) owes_key_update: bool,
    pub(super) peer_has_closed: bool,
    pub(super) sending: Sending,
}

/// How many records one key may encrypt (RFC 8446, section 5.5). No suite has a limit that needs more
/// than 32 bits; [`u32::MAX`] stands for none.
#[derive(Clone, Copy)]
pub(super) struct KeyLimit(u32);

impl From<u64> for KeyLimit {
    fn from(records: u64) -> Self {
        Self(u32::try_from(records).unwrap_or(u32::MAX))
    }
}

impl KeyLimit {
    pub(super) fn records(self) -> u64 {
        if self.0 == u32::MAX { u64::MAX } else { self.0.into() }
    }
}

/// What may still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Sending {
    All,
    /// Nothing: we have sent close_notify.
    Closed,
    /// Nothing: the connection has failed.
    Failed,
}

/// The expanded keys are dropped with the connection.
impl Drop for RecordLayer {
    fn drop(&mut self) {
        self.keys.remove(self.sender.expanded());
        self.keys.remove(self.receiver.expanded());
    }
}

impl RecordLayer {
    /// How much the keys have encrypted; `None` if they have no limit or can be replaced.
    pub(in crate::net::stream::tls) fn key_use(&self) -> Option<KeyUse> {
        let (sent, received) = (self.sender.next(), self.receiver.next());
        let limit = self.key_limit.records();
        let has_limit = self.protection.version == TlsVersion::Tls12 && limit < u64::MAX;
        has_limit.then_some(KeyUse { sent, received, limit })
    }

    /// Encrypts `write` into records.
    ///
    /// # Errors
    /// The connection has failed or been closed before, or its key has reached its limit.
    pub(in crate::net::stream::tls) fn write(
        &mut self,
        write: TlsWrite<'_>,
        outbox: &mut Buffer,
    ) -> Result<(), Error> {
        match (self.sending, write) {
            (Sending::All, TlsWrite::Data(data)) => self.write_data(data, outbox),
            (Sending::All, TlsWrite::CloseNotify) => {
                self.sending = Sending::Closed;
                self.write_alert(WARNING, AlertDescription::CloseNotify, outbox)
            }
            (Sending::Closed, TlsWrite::CloseNotify) => Ok(()),
            _ => Err(Error::HandshakeNotComplete),
        }
    }

    /// Ends the connection with an alert, unless close_notify or another one has been sent.
    pub(in crate::net::stream::tls) fn send_fatal_alert(
        &mut self,
        alert: AlertDescription,
        outbox: &mut Buffer,
    ) {
        if self.sending == Sending::All {
            // Without an alert, the peer sees the connection end.
            let _ = self.write_alert(FATAL, alert, outbox);
        }
        self.sending = Sending::Failed;
    }

    /// Keeps no more tickets: a broker's have arrived by the time that it has answered a CONNECT.
    pub(in crate::net::stream::tls) fn ignore_tickets(&mut self) {
        self.tickets = None;
    }

    fn write_data(&mut self, data: &[u8], outbox: &mut Buffer) -> Result<(), Error> {
        let max = usize::from(self.max_plaintext_bytes);
        let is_13 = self.protection.version == TlsVersion::Tls13;
        let records = data.len().div_ceil(max) as u64;
        if !is_13 && self.sender.next().saturating_add(records) > self.key_limit.records() {
            return Err(Error::EncryptError);
        }
        for plaintext in data.chunks(max) {
            // The request takes the last record of the key.
            let limit = self.key_limit.records().min(SEQUENCE_NUMBER_LIMIT);
            let is_last = self.sender.next().saturating_add(1) >= limit;
            if is_13 && is_last && self.sender.next() > 0 && !self.owes_key_update {
                self.write_record(HANDSHAKE, &KEY_UPDATE_REQUESTED, outbox)?;
                self.sender.update(self.protection.cipher, &self.keys)?;
            }
            self.write_record(APPLICATION_DATA, plaintext, outbox)?;
        }
        Ok(())
    }

    pub(super) fn write_alert(
        &mut self,
        level: u8,
        alert: AlertDescription,
        outbox: &mut Buffer,
    ) -> Result<(), Error> {
        self.write_record(ALERT, &[level, alert.into()], outbox)
    }

    fn write_record(
        &mut self,
        content_type: u8,
        plaintext: &[u8],
        outbox: &mut Buffer,
    ) -> Result<(), Error> {
        if std::mem::take(&mut self.owes_key_update) {
            self.seal(HANDSHAKE, &KEY_UPDATE, outbox)?;
            self.sender.update(self.protection.cipher, &self.keys)?;
        }
        self.seal(content_type, plaintext, outbox)
    }

    fn seal(
        &mut self,
        content_type: u8,
        plaintext: &[u8],
        outbox: &mut Buffer,
    ) -> Result<(), Error> {
        let Self { protection, keys, sender, .. } = self;
        let record_bytes = protection.record_bytes(plaintext.len());
        outbox.encode(record_bytes, |room| {
            sender.seal(*protection, keys, (content_type, plaintext), room)?;
            Ok(record_bytes)
        })
    }
}
