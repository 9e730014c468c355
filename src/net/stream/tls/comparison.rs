//! One side of an established connection, whose records either the record layer or rustls reads.
//! A fuzz target compares the two.

use std::{rc::Rc, sync::Arc};

use rustls::{
    ClientConfig, Connection, Error, ServerConfig, client::UnbufferedClientConnection,
    pki_types::ServerName, server::UnbufferedServerConnection,
};

use super::{
    buffers::TlsBuffers, connection::TlsConnection, handshake::Handshake,
    partial_records::MAX_SESSION_BYTES, record::RecordLayer, records::ReadRecords,
    violation::TlsViolation,
};
use crate::net::{aead_keys::AeadKeys, buffer::Buffer};

/// Our side of a handshake. Its configuration needs `enable_secret_extraction`, and the `KeyLog` of
/// `testing::tls`.
pub enum TlsRole {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

/// An established connection, with the bytes that wait for the rest of a record.
pub struct EstablishedTls {
    reader: Reader,
    buffers: TlsBuffers,
}

enum Reader {
    Rustls(Box<TlsConnection>),
    Layer(Box<RecordLayer>),
}

/// What some bytes of the peer led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TlsReceived {
    pub plaintext: Vec<u8>,
    /// The records that we send in return.
    pub sent: Vec<u8>,
    pub violation: Option<String>,
    pub peer_ended: bool,
}

impl EstablishedTls {
    /// Makes a handshake with `peer`.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn new(role: TlsRole, peer: &mut Connection, is_layer: bool) -> Result<Self, Error> {
        let ours = match role {
            TlsRole::Server(config) => {
                TlsConnection::server(UnbufferedServerConnection::new(config)?, usize::MAX)
            }
            TlsRole::Client(config, name) => {
                TlsConnection::client(UnbufferedClientConnection::new(config, name)?)
            }
        };
        let mut handshake = Handshake::new(ours, MAX_SESSION_BYTES);
        let mut outbox = Buffer::default();
        handshake.connection.read(&mut [], &mut outbox, |_| {})?;
        while handshake.connection.is_handshaking() || !outbox.is_empty() {
            let mut unread = outbox.bytes();
            while !unread.is_empty() {
                peer.read_tls(&mut unread).map_err(|_| Error::HandshakeNotComplete)?;
                peer.process_new_packets()?;
            }
            let (mut wire, mut sent) = (Vec::new(), Buffer::default());
            while peer.wants_write() {
                peer.write_tls(&mut wire).map_err(|_| Error::HandshakeNotComplete)?;
            }
            handshake.buffers.decrypt(&mut *handshake.connection, &mut wire, &mut sent, &mut []);
            outbox = sent;
        }
        let Handshake { connection, mut buffers } = handshake;
        let reader = if is_layer {
            Reader::Layer(Box::new(connection.into_records(Rc::new(AeadKeys::default()))?))
        } else {
            Reader::Rustls(connection)
        };
        // What came right behind the handshake.
        let mut rest = buffers.partial.take();
        let mut established = Self { reader, buffers };
        established.receive(&mut rest);
        Ok(established)
    }

    /// Decrypts what has arrived.
    pub fn receive(&mut self, wire: &mut [u8]) -> TlsReceived {
        let Self { reader, buffers } = self;
        let mut outbox = Buffer::default();
        match reader {
            Reader::Layer(layer) => buffers.decrypt(&mut **layer, wire, &mut outbox, &mut []),
            Reader::Rustls(rustls) => buffers.decrypt(&mut **rustls, wire, &mut outbox, &mut []),
        };
        let violation = buffers.violation.as_deref().map(|violation| match violation {
            TlsViolation::Tls(error) => format!("{error:?}"),
            TlsViolation::TooManyPartialBytes(_) => "too many partial bytes".to_owned(),
        });
        TlsReceived {
            plaintext: std::mem::take(&mut buffers.plain).bytes().to_vec(),
            sent: outbox.bytes().to_vec(),
            violation,
            peer_ended: buffers.peer_ended,
        }
    }
}
