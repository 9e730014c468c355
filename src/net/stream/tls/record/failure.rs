//! Why a connection ends, and the alert that says so.

use rustls::{AlertDescription, Error, InvalidMessage, PeerMisbehaved};

/// An error of the peer's, as rustls would report it.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The fatal alert that rustls would send. For some errors it sends none.
    pub(super) alert: Option<AlertDescription>,
}

impl Failure {
    pub(super) fn new(error: impl Into<Error>, alert: AlertDescription) -> Self {
        Self { error: error.into(), alert: Some(alert) }
    }
}

/// Errors of records and messages.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let alert = match &error {
            Error::InvalidMessage(_) => Some(AlertDescription::DecodeError),
            Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
            Error::DecryptError => Some(AlertDescription::BadRecordMac),
            Error::PeerMisbehaved(
                PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
                | PeerMisbehaved::KeyEpochWithPendingFragment,
            )
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => {
                Some(AlertDescription::UnexpectedMessage)
            }
            _ => None,
        };
        Self { error, alert }
    }
}

impl From<InvalidMessage> for Failure {
    fn from(error: InvalidMessage) -> Self {
        Error::from(error).into()
    }
}

impl From<PeerMisbehaved> for Failure {
    fn from(error: PeerMisbehaved) -> Self {
        Error::from(error).into()
    }
}
