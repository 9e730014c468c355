//! Reading records, by rustls during the handshake and by the record layer after it.

use rustls::Error;

use crate::net::buffer::Buffer;

/// Reads records.
pub(super) trait ReadRecords {
    /// Reads records, passes their plaintext to `give`, and returns how many bytes were consumed.
    /// What is left is the beginning of `wire` at the next call.
    ///
    /// # Errors
    /// The peer's violation of TLS, or its alert. Our own alert is then in the outbox.
    fn read(
        &mut self,
        wire: &mut [u8],
        outbox: &mut Buffer,
        give: impl FnMut(&[u8]),
    ) -> Result<usize, Error>;

    /// Whether the peer has sent close_notify.
    fn peer_has_closed(&self) -> bool;

    /// The length of the records of an incomplete handshake message, as far as they are consumed.
    fn kept_bytes(&self) -> usize;

    /// Whether these are records of a handshake, to be read one by one: what follows the handshake
    /// is read by others.
    fn is_handshaking(&self) -> bool;
}
