//! Clients that come back with a ticket.

use rustls::{
    CertificateError, CommonState, Error, HandshakeKind,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Refuses a client that resumes with a certificate that has expired since it was verified.
///
/// A resumed handshake verifies nothing, and ends with a new ticket, so that a device that comes
/// back every few hours could go on for ever. What was revoked is no matter here: tickets are of no
/// use once CRLs have been read again.
///
/// # Errors
/// As a full handshake would have it.
pub(super) fn still_valid(connection: &CommonState) -> Result<(), Error> {
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
    // It could be read when it was verified.
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return true };
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    certificate.validity().not_after.timestamp() < now
}
