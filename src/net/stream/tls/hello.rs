//! Reads a client's ClientHello before rustls does.

use std::{future::poll_fn, task::Poll};

use super::{error::HandshakeFailure, partial_records::MAX_RECORD_BYTES};
use crate::{
    net::socket::Socket,
    proto::client_hello::{ClientHello, ClientHelloReader, handshake_record},
    tls::hide_server_name,
};

/// What clients send ahead of the second ClientHello, so that middleboxes take it for a resumed
/// session of TLS 1.2 (RFC 8446, appendix D.4).
const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// Reads until the ClientHello is complete; `None` if something else arrives, which rustls then
/// reports. The reader bounds how much is read.
pub(super) async fn read_client_hello(
    received: &mut Vec<u8>,
    socket: &Socket,
) -> Result<Option<ClientHello>, HandshakeFailure> {
    read(received, |received| received, socket).await
}

/// Reads the second ClientHello of a client whose server name is hidden, and which has been asked
/// for another key share (RFC 8446, section 4.1.4). Returns what rustls has to read: that without
/// its name, too, or what has arrived in place of it.
///
/// rustls refuses the name unless it is the one that the first had.
pub(super) async fn read_second_hello(
    name: Option<&str>,
    socket: &Socket,
) -> Result<Vec<u8>, HandshakeFailure> {
    let mut received = Vec::new();
    let hello = read(&mut received, behind_change_cipher_spec, socket).await?;
    let same = hello.filter(|hello| hello.ignored_name.as_deref() == name);
    Ok(same.and_then(|hello| hello.refused).and_then(without_name).unwrap_or(received))
}

/// The record of a ClientHello whose server name rustls would refuse, without that name.
pub(super) fn without_name(mut hello: Vec<u8>) -> Option<Vec<u8>> {
    hide_server_name(&mut hello).then(|| handshake_record(&hello)).flatten()
}

/// `part`: that of the received bytes in which the ClientHello is.
async fn read(
    received: &mut Vec<u8>,
    part: fn(&[u8]) -> &[u8],
    socket: &Socket,
) -> Result<Option<ClientHello>, HandshakeFailure> {
    let mut reader = ClientHelloReader::default();
    let mut seen = 0;
    poll_fn(|cx| {
        socket.watch(cx);
        loop {
            let unread = &part(received)[seen..];
            seen += unread.len();
            match reader.read(unread) {
                Ok(None) => {}
                read => return Poll::Ready(Ok(read.unwrap_or_default())),
            }
            let inbox = &mut *socket.buffers().inbox.lend();
            match inbox.receive(MAX_RECORD_BYTES, |room| socket.try_recv(room))? {
                Poll::Ready(0) => return Poll::Ready(Err(HandshakeFailure::Closed)),
                Poll::Ready(_) => received.extend_from_slice(inbox.bytes()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Nothing until it is clear whether that comes first.
fn behind_change_cipher_spec(received: &[u8]) -> &[u8] {
    match received.strip_prefix(&CHANGE_CIPHER_SPEC) {
        Some(rest) => rest,
        None if CHANGE_CIPHER_SPEC.starts_with(received) => &[],
        None => received,
    }
}
