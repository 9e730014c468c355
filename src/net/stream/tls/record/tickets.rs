//! The tickets of a broker, with which the next connection to it resumes.

use rustls::{Error, client::ClientConnectionData, kernel::KernelConnection};

/// Passes tickets to rustls, which keeps them with the configuration of the connection.
pub(super) struct TicketStore(Box<KernelConnection<ClientConnectionData>>);

impl TicketStore {
    pub(super) fn new(connection: KernelConnection<ClientConnectionData>) -> Self {
        Self(Box::new(connection))
    }

    /// Keeps the ticket of the body of a NewSessionTicket message (RFC 8446, section 4.6.1).
    ///
    /// # Errors
    /// The message is malformed.
    pub(super) fn keep(&mut self, body: &[u8]) -> Result<(), Error> {
        self.0.handle_new_session_ticket(body)
    }
}
