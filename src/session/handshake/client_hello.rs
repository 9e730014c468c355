//! Reading the ClientHello of a client whose TLS is passed through.

use super::{incomplete::incomplete, wrong_protocol};
use crate::{
    labels::{EndBy, EndCause, EndPhase},
    listener::ListenerSettings,
    proto::client_hello::{ClientHelloReader, InvalidClientHello, MAX_CLIENT_HELLO_BYTES},
    session::{end::End, pending::PendingClient, reject::Rejection},
};

/// Reads the ClientHello, and takes note of the server name in it. It stays in the buffer, with what
/// followed it.
pub(super) async fn read(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
) -> Result<(), Rejection> {
    let mut reader = ClientHelloReader::default();
    let mut seen = 0;
    loop {
        match reader.read(client.buffer.get(seen..).unwrap_or_default()) {
            Ok(Some(hello)) => {
                client.record.set_client_hello(hello);
                return Ok(());
            }
            Ok(None) => {}
            Err(invalid) => return Err(malformed(client, settings, invalid).await.into()),
        }
        seen = client.buffer.len();
        if client.read_more(MAX_CLIENT_HELLO_BYTES, EndPhase::Handshake).await? == 0 {
            return Err(
                client.closed_early(EndPhase::Handshake, incomplete("ClientHello", &client.buffer))
            );
        }
    }
}

/// The end of a client that did not send a ClientHello. It is not sent an alert (RFC 8446, section
/// 6.2): the proxy is not its TLS server, and what it speaks may not be TLS.
async fn malformed(
    client: &mut PendingClient<'_>,
    settings: &ListenerSettings,
    invalid: InvalidClientHello,
) -> End {
    client.stream.read_protocol_prefix(&mut client.buffer).await;
    let detail = wrong_protocol::in_place_of_client_hello(client, settings)
        .unwrap_or_else(|| invalid.to_string().into());
    End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Malformed).with(detail)
}
