//! The records of the peer: application data, alerts and handshake messages.

use rustls::{AlertDescription, ContentType, Error, InvalidMessage, PeerMisbehaved};

use super::{
    failure::Failure,
    header::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER_BYTES, Header},
    layer::{FATAL, RecordLayer, Sending, TlsWrite, WARNING},
};
use crate::{
    net::{buffer::Buffer, stream::tls::records::ReadRecords},
    tls::TlsVersion,
};

/// The sequence number of the peer at which we close: it should never get there. As in rustls.
const CLOSE_AT_NUMBER: u64 = 0xFFFF_FFFF_FFFF_0000;

impl ReadRecords for RecordLayer {
    /// Reads records, passes their plaintext to `give`, and returns how many bytes were consumed:
    /// all but an incomplete record, and all up to close_notify.
    ///
    /// # Errors
    /// The peer's violation of TLS, or its alert. Our own alert is then in the outbox.
    fn read(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        mut give: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut consumed = 0;
        while !self.peer_has_closed {
            match self.read_record(&mut wire[consumed..], outbox, &mut give) {
                Ok(0) => break,
                Ok(n) => consumed += n,
                Err(Failure { error, alert }) => {
                    if let Some(alert) = alert {
                        self.send_fatal_alert(alert, outbox);
                    }
                    self.sending = Sending::Failed;
                    return Err(error);
                }
            }
        }
        Ok(consumed)
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    fn kept_bytes(&self) -> usize {
        self.fragment.as_ref().map_or(0, |fragment| fragment.wire_bytes())
    }

    fn is_handshaking(&self) -> bool {
        false
    }
}

impl RecordLayer {
    /// Reads the record at the front of `wire`; returns its length, or 0 if it is incomplete.
    fn read_record(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        give: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        let Some(header) = Header::parse(wire)? else { return Ok(0) };
        let wire_bytes = HEADER_BYTES + header.payload_bytes;
        let Some(payload) = wire.get_mut(HEADER_BYTES..wire_bytes) else { return Ok(0) };
        // change_cipher_spec is never protected. It means nothing here, and is refused below.
        let is_plain = header.content_type == CHANGE_CIPHER_SPEC && self.fragment.is_none();
        let (content_type, plaintext) = if is_plain {
            (CHANGE_CIPHER_SPEC, &*payload)
        } else {
            self.open(header, payload, outbox)?
        };
        if self.fragment.is_some() && content_type != HANDSHAKE {
            return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
        }
        self.budgets.take_record(plaintext)?;
        match content_type {
            APPLICATION_DATA => {
                self.budgets.note_application_data();
                if !plaintext.is_empty() {
                    give(plaintext);
                }
            }
            HANDSHAKE => self.read_handshake(plaintext, wire_bytes, outbox)?,
            ALERT => self.read_alert(plaintext)?,
            CHANGE_CIPHER_SPEC => return Err(self.refuse_change_cipher_spec(plaintext)),
            _ => return Err(InvalidMessage::InvalidContentType.into()),
        }
        Ok(wire_bytes)
    }

    fn open<'a>(
        &mut self,
        header: Header,
        payload: &'a mut [u8],
        outbox: &mut Buffer,
    ) -> Result<(u8, &'a [u8]), Failure> {
        let number = self.receiver.next();
        let opened = self.receiver.open(self.protection, &self.keys, header, payload)?;
        // RFC 8446, section 5: it is never protected.
        if self.protection.version == TlsVersion::Tls13 && opened.0 == CHANGE_CIPHER_SPEC {
            return Err(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into());
        }
        if number == CLOSE_AT_NUMBER && self.sending == Sending::All {
            self.write(TlsWrite::CloseNotify, outbox)?;
        }
        Ok(opened)
    }

    fn read_alert(&mut self, alert: &[u8]) -> Result<(), Failure> {
        let (level, description) = match *alert {
            [level, description] => (level, AlertDescription::from(description)),
            [] => return Err(InvalidMessage::MissingData("AlertLevel").into()),
            [_] => return Err(InvalidMessage::MissingData("AlertDescription").into()),
            _ => return Err(InvalidMessage::TrailingData("AlertMessagePayload").into()),
        };
        let error = Error::AlertReceived(description);
        if level != WARNING && level != FATAL {
            return Err(Failure::new(error, AlertDescription::IllegalParameter));
        }
        if description == AlertDescription::CloseNotify {
            self.peer_has_closed = true;
            return Ok(());
        }
        if level == FATAL {
            return Err(Failure { error, alert: None });
        }
        self.budgets.take_warning_alert()?;
        // In TLS 1.3 all errors are fatal, whatever their level is; user_canceled is not an error
        // (RFC 8446, section 6).
        if self.protection.version == TlsVersion::Tls13
            && description != AlertDescription::UserCanceled
        {
            return Err(Failure::new(error, AlertDescription::DecodeError));
        }
        Ok(())
    }

    fn refuse_change_cipher_spec(&self, payload: &[u8]) -> Failure {
        match payload {
            [1] => {
                let mut expect_types = vec![ContentType::ApplicationData];
                if self.protection.version == TlsVersion::Tls13 {
                    expect_types.push(ContentType::Handshake);
                }
                let got_type = ContentType::ChangeCipherSpec;
                Error::InappropriateMessage { expect_types, got_type }.into()
            }
            [1, ..] => InvalidMessage::TrailingData("ChangeCipherSpecPayload").into(),
            _ => InvalidMessage::InvalidCcs.into(),
        }
    }
}
