//! The TLS handshake with a client.

use crate::{
    labels::{EndBy, EndCause, EndPhase},
    net::TlsError,
    proto::TlsFacts,
    session::{
        end::End,
        pending::PendingClient,
        reject::{RejectReply, Rejection},
    },
    tls::TlsServer,
};

/// Runs the server side of the handshake, and returns what it shows about the client.
pub(super) async fn accept(
    client: &mut PendingClient<'_>,
    config: &TlsServer,
) -> Result<TlsFacts, Rejection> {
    // Bytes after a PROXY header already belong to TLS.
    let first = std::mem::take(&mut client.buffer);
    let max_held_bytes = client.context.limits.get().connect_packet;
    let accepted = client.stream.accept_tls(config, first, max_held_bytes).await;
    accepted.map_err(|error| rejection(&error))
}

/// The record of a failed handshake, whose alert has been sent.
fn rejection(error: &TlsError) -> Rejection {
    let (by, cause) = match error {
        TlsError::Silent(None) => {
            let end = End::new(EndBy::Client, EndPhase::Handshake, EndCause::Closed);
            return Rejection::before_first_byte(end.with(error.to_string()));
        }
        TlsError::Silent(Some(error)) => {
            let end = End::failed(EndBy::Client, EndPhase::Handshake, error);
            return Rejection::before_first_byte(end);
        }
        TlsError::Closed => (EndBy::Client, EndCause::Closed),
        TlsError::Io(error) => {
            return End::failed(EndBy::Client, EndPhase::Handshake, error).into();
        }
        TlsError::Alert(_) => (EndBy::Client, EndCause::Refused),
        TlsError::Certificate(_) => (EndBy::Proxy, EndCause::Refused),
        TlsError::Protocol { .. } | TlsError::TooManyPartialBytes(_) => {
            (EndBy::Proxy, EndCause::Malformed)
        }
    };
    let end = End::new(by, EndPhase::Handshake, cause).with(error.to_string());
    let reply = (by == EndBy::Proxy).then_some(RejectReply::Transport);
    let has_bad_credentials = matches!(error, TlsError::Certificate(_));
    Rejection { reply, has_bad_credentials, ..end.into() }
}
