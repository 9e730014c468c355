//! The handshakes of rustls, whose unbuffered connections work on slices of a worker's buffers.

use std::{ops::Deref, rc::Rc};

use rustls::{
    CommonState, Error,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus},
};

use super::{record::RecordLayer, records::ReadRecords};
use crate::{
    net::{aead_keys::AeadKeys, buffer::Buffer},
    tls::{TrafficSecrets, capture},
};

/// A fatal unexpected_message in a plaintext record, as sent before there are keys (RFC 8446,
/// sections 5.1 and 6.2).
const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// A client's or a server's connection during its handshake.
pub(super) struct TlsConnection {
    side: Side,
    /// The secrets that the handshake has derived so far.
    secrets: TrafficSecrets,
    peer_has_closed: bool,
}

enum Side {
    /// With the most plaintext that a record to the client may have.
    Server(UnbufferedServerConnection, usize),
    Client(UnbufferedClientConnection),
}

impl TlsConnection {
    /// `max_plaintext_bytes`: the most that a record to the client may have after the handshake.
    pub(super) fn server(
        connection: UnbufferedServerConnection,
        max_plaintext_bytes: usize,
    ) -> Self {
        Self::new(Side::Server(connection, max_plaintext_bytes))
    }

    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(connection))
    }

    fn new(side: Side) -> Self {
        Self { side, secrets: TrafficSecrets::default(), peer_has_closed: false }
    }

    /// The record layer with the keys of the finished handshake.
    ///
    /// # Errors
    /// The handshake is not over, or rustls does not hand out its keys: that requires the
    /// configuration's `enable_secret_extraction`, and our `KeyLog`.
    pub(super) fn into_records(self, keys: Rc<AeadKeys>) -> Result<RecordLayer, Error> {
        match self.side {
            Side::Server(server, max_plaintext_bytes) => {
                RecordLayer::of_server(server, self.secrets, max_plaintext_bytes, keys)
            }
            Side::Client(client) => RecordLayer::of_client(client, self.secrets, keys),
        }
    }

    /// After an error rustls has an alert to send, except for an unexpected record, such as one
    /// between the parts of a handshake message. The loop ends with the alert: if called again,
    /// rustls would continue reading.
    fn write_alert(&mut self, error: &Error, outbox: &mut Buffer) {
        let has_alert = self.wants_write();
        while self.wants_write()
            && matches!(self.step(&mut [], outbox, &mut |_| {}), (_, Ok(RecordStep::More)))
        {
        }
        // Once a version is negotiated there may be keys, and a plaintext alert would be invalid.
        let is_plain = self.protocol_version().is_none();
        if !has_alert && is_plain && matches!(error, Error::PeerMisbehaved(_)) {
            outbox.extend(&UNEXPECTED_MESSAGE);
        }
    }

    fn step(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        give: &mut impl FnMut(&[u8]),
    ) -> (usize, Result<RecordStep, Error>) {
        let closed = &mut self.peer_has_closed;
        let (result, secrets) = match &mut self.side {
            Side::Server(server, _) => {
                let (status, secrets) = capture(|| server.process_tls_records(wire));
                (act(status, outbox, give, closed), secrets)
            }
            Side::Client(client) => {
                let (status, secrets) = capture(|| client.process_tls_records(wire));
                (act(status, outbox, give, closed), secrets)
            }
        };
        self.secrets.extend(secrets);
        result
    }
}

impl ReadRecords for TlsConnection {
    fn read(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        mut give: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut consumed = 0;
        loop {
            let (discarded, step) = self.step(&mut wire[consumed..], outbox, &mut give);
            consumed += discarded;
            match step {
                Ok(RecordStep::More) => {}
                Ok(RecordStep::Done) => return Ok(consumed),
                Err(error) => {
                    self.write_alert(&error, outbox);
                    return Err(error);
                }
            }
        }
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    /// rustls consumes nothing of an incomplete message.
    fn kept_bytes(&self) -> usize {
        0
    }

    fn is_handshaking(&self) -> bool {
        CommonState::is_handshaking(self)
    }
}

impl Deref for TlsConnection {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match &self.side {
            Side::Server(server, _) => server,
            Side::Client(client) => client,
        }
    }
}

#[derive(Clone, Copy)]
enum RecordStep {
    /// rustls may have more to do with the same input.
    More,
    Done,
}

/// Does what rustls asks for; returns how many bytes of the input are consumed.
fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outbox: &mut Buffer,
    give: &mut impl FnMut(&[u8]),
    peer_has_closed: &mut bool,
) -> (usize, Result<RecordStep, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error)),
    };
    let done = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        give(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Ok(RecordStep::More)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            put(outbox, |room| data.encode(room)).map(|()| RecordStep::More)
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Ok(RecordStep::More)
        }
        ConnectionState::PeerClosed => {
            *peer_has_closed = true;
            Ok(RecordStep::More)
        }
        // More input is needed, or the handshake is over. Early data is never enabled.
        _ => Ok(RecordStep::Done),
    };
    (discard, done)
}

/// Appends a record to the outbox, with as much room as `encode` asks for.
fn put(
    outbox: &mut Buffer,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let written = match outbox.encode(0, &mut encode) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            outbox.encode(required_size, &mut encode)
        }
        written => written,
    };
    // It is encoded once, into as much room as it takes.
    written.map_err(|_| Error::EncryptError)
}
