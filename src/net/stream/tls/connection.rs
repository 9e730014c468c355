//! rustls' unbuffered connections, which work on slices of a worker's buffers.

use std::ops::Deref;

use rustls::{
    CommonState, Error, SupportedCipherSuite,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    },
};

use super::{alert, key_use::KeyUse, partial_records::count_records};
use crate::net::buffer::Buffer;

/// Bytes that a record takes beyond its plaintext: its header, an explicit nonce in TLS 1.2, the
/// tag and the type (RFC 8446, section 5.2; RFC 5288, section 3). rustls asks for more if it needs
/// more.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// A client's or a server's connection.
pub(super) struct TlsConnection {
    side: Side,
    peer_has_closed: bool,
    /// After an error rustls must not be called again: it would read messages at stale positions.
    failed: bool,
    /// Records written and read so far, with the few of the handshake that are written.
    records_sent: u64,
    records_received: u64,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What to encrypt.
#[derive(Clone, Copy)]
pub(super) enum TlsWrite<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl TlsConnection {
    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Self::new(Side::Server(connection))
    }

    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(connection))
    }

    fn new(side: Side) -> Self {
        Self { side, peer_has_closed: false, failed: false, records_sent: 0, records_received: 0 }
    }

    /// How much the keys have encrypted; `None` if they have no limit or can be replaced.
    pub(super) fn key_use(&self) -> Option<KeyUse> {
        let Some(SupportedCipherSuite::Tls12(suite)) = self.negotiated_cipher_suite() else {
            return None;
        };
        let limit = suite.common.confidentiality_limit;
        let (sent, received) = (self.records_sent, self.records_received);
        (limit < u64::MAX).then_some(KeyUse { sent, received, limit })
    }

    /// Whether the peer has sent close_notify.
    pub(super) fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    /// Reads records, passes their plaintext to `give`, and returns how many bytes were consumed.
    ///
    /// # Errors
    /// The peer's violation of TLS, or its alert. Our own alert is then in the outbox.
    pub(super) fn read(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        mut give: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let (mut consumed, mut received) = (0, 0);
        let before = outbox.bytes().len();
        let mut give = |plaintext: &[u8]| {
            received += 1;
            give(plaintext);
        };
        let result = loop {
            let (discarded, step) = self.step(&mut wire[consumed..], outbox, &mut give, &mut None);
            consumed += discarded;
            match step {
                Ok(RecordStep::More) => {}
                Ok(RecordStep::Done) => break Ok(consumed),
                Err(error) => {
                    self.write_alert(&error, outbox);
                    self.failed = true;
                    break Err(error);
                }
            }
        };
        self.records_received += received;
        self.records_sent += count_records(&outbox.bytes()[before..]);
        result
    }

    /// Encrypts `write` into records. `partial`: the bytes that the last read did not consume, in
    /// which rustls has a position.
    ///
    /// # Errors
    /// The connection has failed before, or its key has reached its limit.
    pub(super) fn write(
        &mut self,
        write: TlsWrite<'_>,
        partial: &mut [u8],
        outbox: &mut Buffer,
    ) -> Result<(), Error> {
        if self.failed {
            return Err(Error::HandshakeNotComplete);
        }
        let before = outbox.bytes().len();
        let mut write = Some(write);
        // Pending messages of the handshake or of a key update go first.
        let result = loop {
            match self.step(partial, outbox, &mut |_| {}, &mut write) {
                (0, Ok(RecordStep::More)) => {}
                (_, Err(error)) => break Err(error),
                _ if write.is_some() => break Err(Error::HandshakeNotComplete),
                _ => break Ok(()),
            }
        };
        self.records_sent += count_records(&outbox.bytes()[before..]);
        result
    }

    /// The alert for a client whose certificate has expired.
    pub(super) fn certificate_expired(self) -> Option<Vec<u8>> {
        match self.side {
            Side::Server(server) => alert::certificate_expired(server),
            Side::Client(_) => None,
        }
    }

    /// After an error rustls has an alert to send, except for an unexpected record, such as one
    /// between the parts of a handshake message. The loop ends with the alert: if called again,
    /// rustls would continue reading.
    fn write_alert(&mut self, error: &Error, outbox: &mut Buffer) {
        let has_alert = self.wants_write();
        while self.wants_write()
            && matches!(
                self.step(&mut [], outbox, &mut |_| {}, &mut None),
                (_, Ok(RecordStep::More))
            )
        {}
        // Once a version is negotiated there may be keys, and a plaintext alert would be invalid.
        let is_plain = self.protocol_version().is_none();
        if !has_alert && is_plain && matches!(error, Error::PeerMisbehaved(_)) {
            outbox.extend(&alert::UNEXPECTED_MESSAGE);
        }
    }

    fn step(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        give: &mut impl FnMut(&[u8]),
        write: &mut Option<TlsWrite<'_>>,
    ) -> (usize, Result<RecordStep, Error>) {
        let closed = &mut self.peer_has_closed;
        match &mut self.side {
            Side::Server(server) => {
                act(server.process_tls_records(wire), outbox, give, write, closed)
            }
            Side::Client(client) => {
                act(client.process_tls_records(wire), outbox, give, write, closed)
            }
        }
    }
}

impl Deref for TlsConnection {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match &self.side {
            Side::Server(server) => server,
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
    write: &mut Option<TlsWrite<'_>>,
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
            put(outbox, 0, |room| data.encode(room)).map(|()| RecordStep::More)
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Ok(RecordStep::More)
        }
        ConnectionState::PeerClosed => {
            *peer_has_closed = true;
            Ok(RecordStep::More)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let written = match write.take() {
                None => Ok(()),
                Some(TlsWrite::Data(data)) => {
                    put(outbox, data.len() + RECORD_OVERHEAD_BYTES, |room| {
                        traffic.encrypt(data, room)
                    })
                }
                Some(TlsWrite::CloseNotify) => {
                    put(outbox, RECORD_OVERHEAD_BYTES, |room| traffic.queue_close_notify(room))
                }
            };
            written.map(|()| RecordStep::Done)
        }
        // More input is needed, or the connection is closed. Early data is never enabled.
        _ => Ok(RecordStep::Done),
    };
    (discard, done)
}

/// Lets `encode` write into `room` bytes of the outbox, and more if it asks for more.
fn put<E: AsksForRoom>(
    outbox: &mut Buffer,
    room: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let written = match outbox.encode(room, &mut encode).map_err(AsksForRoom::required) {
        Err(Some(required)) => outbox.encode(required, &mut encode).map_err(AsksForRoom::required),
        written => written,
    };
    // The key has reached its limit, and TLS 1.2 cannot replace it.
    written.map_err(|_| Error::EncryptError)
}

/// An error that may mean only that the room was too small.
trait AsksForRoom {
    fn required(self) -> Option<usize>;
}

impl AsksForRoom for EncodeError {
    fn required(self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl AsksForRoom for EncryptError {
    fn required(self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
            Self::EncryptExhausted => None,
        }
    }
}
