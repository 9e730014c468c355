//! Handshake messages after the handshake: tickets, key updates, and those that are refused.

use rustls::{
    AlertDescription, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved, Side,
};
use zeroize::Zeroizing;

use super::{
    failure::Failure,
    fragment::{
        HandshakeFragment, HandshakeMessage, KEY_UPDATE_TYPE, UPDATE_REQUESTED, check_lengths,
        first_message,
    },
    layer::{RecordLayer, Sending, WARNING},
};
use crate::{net::buffer::Buffer, tls::TlsVersion};

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;

impl RecordLayer {
    /// Handles the messages of a handshake record of `wire_bytes`, and keeps the beginning of an
    /// incomplete one.
    pub(super) fn read_handshake(
        &mut self,
        payload: &[u8],
        wire_bytes: usize,
        outbox: &mut Buffer,
    ) -> Result<(), Failure> {
        let mut fragment = self.fragment.take();
        if let Some(fragment) = &mut fragment {
            fragment.push(payload, wire_bytes);
        }
        let bytes = fragment.as_ref().map_or(payload, |fragment| fragment.bytes());
        // Like rustls, without an alert.
        check_lengths(bytes).map_err(|error| Failure { error: error.into(), alert: None })?;
        let mut rest = bytes;
        while let Some(message) = first_message(rest) {
            rest = message.rest;
            self.handle(&message, outbox)?;
        }
        if !rest.is_empty() {
            self.fragment = match fragment {
                Some(fragment) if fragment.bytes().len() == rest.len() => Some(fragment),
                _ => {
                    let rest = Zeroizing::new(rest.to_vec());
                    Some(Box::new(HandshakeFragment::new(rest, wire_bytes)))
                }
            };
        }
        Ok(())
    }

    fn handle(
        &mut self,
        message: &HandshakeMessage<'_>,
        outbox: &mut Buffer,
    ) -> Result<(), Failure> {
        match (self.protection.version, self.side, message.message_type) {
            (TlsVersion::Tls12, Side::Client, HELLO_REQUEST)
            | (TlsVersion::Tls12, Side::Server, CLIENT_HELLO) => {
                self.budgets.take_renegotiation_request()?;
                // close_notify is the last thing that we send.
                if self.sending == Sending::All {
                    self.write_alert(WARNING, AlertDescription::NoRenegotiation, outbox)?;
                }
                Ok(())
            }
            (TlsVersion::Tls12, ..) => {
                let expect_types = vec![ContentType::ApplicationData];
                let got_type = ContentType::Handshake;
                Err(Error::InappropriateMessage { expect_types, got_type }.into())
            }
            (TlsVersion::Tls13, _, KEY_UPDATE_TYPE) => self.take_key_update(message),
            (TlsVersion::Tls13, Side::Client, NEW_SESSION_TICKET) => match &mut self.tickets {
                Some(tickets) => tickets.keep(message.body).map_err(Failure::from),
                None => Ok(()),
            },
            (TlsVersion::Tls13, side, message_type) => {
                let mut expect_types = vec![HandshakeType::KeyUpdate];
                if side == Side::Client {
                    expect_types.insert(0, HandshakeType::NewSessionTicket);
                }
                let got_type = message_type.into();
                Err(Error::InappropriateHandshakeMessage { expect_types, got_type }.into())
            }
        }
    }

    /// Follows the peer to its next key, and remembers to answer if it asks for ours. The answer is
    /// due before our next record, and one answers any number of requests (RFC 8446, section
    /// 4.6.3): a peer that only sends requests is sent nothing.
    fn take_key_update(&mut self, message: &HandshakeMessage<'_>) -> Result<(), Failure> {
        let request = match *message.body {
            [request] => request,
            [] => return Err(InvalidMessage::MissingData("KeyUpdateRequest").into()),
            _ => return Err(InvalidMessage::TrailingData("HandshakeMessagePayload").into()),
        };
        // No message may be protected by two keys.
        if !message.rest.is_empty() {
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        self.budgets.take_key_update()?;
        if request > UPDATE_REQUESTED {
            let error = InvalidMessage::InvalidKeyUpdate;
            return Err(Failure::new(error, AlertDescription::IllegalParameter));
        }
        self.owes_key_update |= request == UPDATE_REQUESTED;
        self.receiver.update(self.protection.cipher, &self.keys)?;
        Ok(())
    }
}
