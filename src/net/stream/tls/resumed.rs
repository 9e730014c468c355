//! Clients that resume a session with a ticket.

use rustls::{
    CertificateError, CommonState, Error, HandshakeKind,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Refuses a client that resumes with a certificate that has expired since it was verified.
///
/// A resumed handshake verifies no certificate and ends with a new ticket, so a device that
/// reconnects every few hours would never be verified again. Revocation needs no check here:
/// tickets become invalid when CRLs are read again.
///
/// # Errors
/// The error of a full handshake with that certificate.
pub(super) fn check_not_expired(connection: &CommonState) -> Result<(), Error> {
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    match certificate {
        Some(certificate)
            if connection.handshake_kind() == Some(HandshakeKind::Resumed)
                && has_expired(certificate) =>
        {
            Err(CertificateError::Expired.into())
        }
        _ => Ok(()),
    }
}

fn has_expired(certificate: &CertificateDer<'_>) -> bool {
    // It could be parsed when it was verified.
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return true };
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    certificate.validity().not_after.timestamp() < now
}
