//! rustls' unbuffered connections, which act on slices that a worker lends them.

use std::ops::Deref;

use rustls::{
    CommonState, Error, SupportedCipherSuite,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    },
};

use super::alert;
use crate::net::buffer::Buffer;

/// Room that a record takes beyond its plaintext: its header, an explicit nonce in TLS 1.2, the tag
/// and the type (RFC 8446, section 5.2; RFC 5288, section 3). rustls asks for more where it needs it.
const OVERHEAD: usize = 64;

/// The plaintext of a full record (RFC 8446, section 5.1; RFC 5246, section 6.2.1).
const RECORD_BYTES: usize = 1 << 14;

/// How many records before its limit a connection is ended: so many that one look a second finds it
/// in time, and still one in sixty-four of those of AES-GCM.
const RECORDS_IN_RESERVE: u64 = 1 << 18;

/// Either side's state.
pub(super) struct Connection {
    side: Side,
    peer_has_closed: bool,
    /// After an error rustls is not to be called again: it would look for messages where they were.
    failed: bool,
    /// Records of data that have been made.
    pub(super) records: u64,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is to be made into records.
#[derive(Clone, Copy)]
pub(super) enum Write<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl Connection {
    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Self::new(Side::Server(connection))
    }

    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(connection))
    }

    fn new(side: Side) -> Self {
        Self { side, peer_has_closed: false, failed: false, records: 0 }
    }

    /// Whether our key has made nearly as many records as is safe, and TLS 1.2 has no way to a new
    /// one: 2^24 of AES-GCM, where rustls stops. Version 1.3 gets new keys in time.
    pub(super) fn is_near_key_limit(&self) -> bool {
        matches!(self.negotiated_cipher_suite(), Some(SupportedCipherSuite::Tls12(suite))
            if self.records.saturating_add(RECORDS_IN_RESERVE) > suite.common.confidentiality_limit)
    }

    /// The peer has said that it sends no more.
    pub(super) fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    /// Takes in records, hands their plaintext to `give`, and returns how much was used up.
    ///
    /// # Errors
    /// The peer's breach of TLS, or its alert; our own alert is in the outbox then.
    pub(super) fn read(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        mut give: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut consumed = 0;
        loop {
            let (discarded, step) = self.step(&mut wire[consumed..], outbox, &mut give, &mut None);
            consumed += discarded;
            match step {
                Ok(Step::More) => {}
                Ok(Step::Done) => return Ok(consumed),
                Err(error) => {
                    self.write_alert(&error, outbox);
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }

    /// Makes records. `held` is what the last read did not use up, which rustls remembers its place
    /// in.
    ///
    /// # Errors
    /// The connection has failed before, or its keys are used up.
    pub(super) fn write(
        &mut self,
        write: Write<'_>,
        held: &mut [u8],
        outbox: &mut Buffer,
    ) -> Result<(), Error> {
        if self.failed {
            return Err(Error::HandshakeNotComplete);
        }
        if let Write::Data(data) = write {
            self.records += data.len().div_ceil(RECORD_BYTES) as u64;
        }
        let mut write = Some(write);
        // What the handshake, or a key update, has left to send goes first.
        while let (0, Step::More) = {
            let (discarded, step) = self.step(held, outbox, &mut |_| {}, &mut write);
            (discarded, step?)
        } {}
        match write {
            None => Ok(()),
            Some(_) => Err(Error::HandshakeNotComplete),
        }
    }

    /// The alert that ends a client's connection whose certificate has expired.
    pub(super) fn certificate_expired(self) -> Option<Vec<u8>> {
        match self.side {
            Side::Server(server) => alert::certificate_expired(server),
            Side::Client(_) => None,
        }
    }

    /// After an error rustls has an alert to send, but for records out of place, such as one between
    /// the parts of a handshake message. Asked for more than that, it would go on reading.
    fn write_alert(&mut self, error: &Error, outbox: &mut Buffer) {
        let has_alert = self.wants_write();
        while self.wants_write()
            && matches!(self.step(&mut [], outbox, &mut |_| {}, &mut None), (_, Ok(Step::More)))
        {
        }
        // With a version there can be keys, which a plaintext alert would break.
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
        write: &mut Option<Write<'_>>,
    ) -> (usize, Result<Step, Error>) {
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

impl Deref for Connection {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match &self.side {
            Side::Server(server) => server,
            Side::Client(client) => client,
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    /// There may be more to do with what is there.
    More,
    Done,
}

/// Does what rustls asks for; gives how much of the input is used up.
fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outbox: &mut Buffer,
    give: &mut impl FnMut(&[u8]),
    write: &mut Option<Write<'_>>,
    peer_has_closed: &mut bool,
) -> (usize, Result<Step, Error>) {
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
            Ok(Step::More)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            put(outbox, 0, |room| data.encode(room)).map(|()| Step::More)
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Ok(Step::More)
        }
        ConnectionState::PeerClosed => {
            *peer_has_closed = true;
            Ok(Step::More)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let written = match write.take() {
                None => Ok(()),
                Some(Write::Data(data)) => {
                    put(outbox, data.len() + OVERHEAD, |room| traffic.encrypt(data, room))
                }
                Some(Write::CloseNotify) => {
                    put(outbox, OVERHEAD, |room| traffic.queue_close_notify(room))
                }
            };
            written.map(|()| Step::Done)
        }
        // More input is needed, or all has been said. Early data is never asked for.
        _ => Ok(Step::Done),
    };
    (discard, done)
}

/// Lets `encode` write into so much room of the outbox, and more if it asks for it.
fn put<E: AsksForRoom>(
    outbox: &mut Buffer,
    room: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let written = match outbox.encode(room, &mut encode).map_err(AsksForRoom::required) {
        Err(Some(required)) => outbox.encode(required, &mut encode).map_err(AsksForRoom::required),
        written => written,
    };
    // The keys have encrypted all that they may; TLS 1.2 cannot get new ones.
    written.map_err(|_| Error::EncryptError)
}

/// An error that may only mean that the room was too small.
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
