//! Records that cannot be used yet, assembled without reading any byte twice.

/// The content type, the version and the length (RFC 8446, section 5.1).
pub(super) const HEADER_BYTES: usize = 5;

/// The longest record: its header, 2^14 bytes, and what TLS 1.2 lets a cipher add (RFC 5246,
/// section 6.2.3).
pub(super) const MAX_RECORD_BYTES: usize = HEADER_BYTES + (1 << 14) + 2048;

/// The most bytes kept for a peer after the handshake: one record of an incomplete message, such as
/// a long ticket, and one incomplete record.
pub(super) const MAX_SESSION_BYTES: usize = 2 * MAX_RECORD_BYTES;

/// The most bytes kept for a peer during a handshake, whatever the configuration allows: twice the
/// longest message that rustls accepts, so that a broker's certificate chain may arrive in small
/// records.
pub(super) const MAX_HANDSHAKE_BYTES: usize = 2 << 16;

/// Received bytes that cannot be used yet: during the handshake, records of an incomplete handshake
/// message, which rustls has decrypted in place and keeps a position in; then the beginning of a
/// record.
#[derive(Default)]
pub(super) struct PartialRecords {
    bytes: Vec<u8>,
    /// Where the incomplete record begins.
    last: usize,
}

impl PartialRecords {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The beginning of a record; `None` if it is complete.
    pub(super) fn beginning(bytes: &[u8]) -> Option<Self> {
        (bytes.len() < record(bytes)).then(|| Self { bytes: bytes.to_vec(), last: 0 })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes all that is kept.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Takes bytes from the front of `wire`, at most to the end of a record header or of a record,
    /// where reading can continue. Returns how many, and whether that end was reached.
    pub(super) fn complete(&mut self, wire: &[u8]) -> (usize, bool) {
        let missing = record(&self.bytes[self.last..]) - (self.bytes.len() - self.last);
        let taken = missing.min(wire.len());
        self.bytes.extend_from_slice(&wire[..taken]);
        (taken, taken == missing)
    }

    /// Discards the first `consumed` bytes, after all of them are read.
    pub(super) fn discard(&mut self, consumed: usize) {
        let is_header = self.bytes.len() - self.last == HEADER_BYTES
            && record(&self.bytes[self.last..]) > HEADER_BYTES;
        if !is_header {
            self.last = self.bytes.len();
        }
        self.bytes.drain(..consumed);
        self.last -= consumed;
    }

    /// Keeps the rest of a buffer that was read directly; `last`: where the incomplete
    /// record begins in it.
    pub(super) fn keep(&mut self, rest: &[u8], last: usize) {
        self.bytes.extend_from_slice(rest);
        self.last = last;
    }

    /// Frees the memory if nothing is kept: an idle connection needs none.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Appends a record of an unknown type, which is answered with the alert decode_error: rustls
    /// has no call for that.
    pub(super) fn append_invalid_record(&mut self) {
        self.bytes.truncate(self.last);
        self.bytes.extend([0xFF; HEADER_BYTES]);
    }
}

/// The length of the complete records at the front of `wire`.
pub(super) fn whole_records(wire: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let record = record(&wire[end..]);
        if wire.len() - end < record {
            return end;
        }
        end += record;
    }
}

/// The length of the record that begins with `bytes`, or of its header while that is incomplete.
fn record(bytes: &[u8]) -> usize {
    match bytes {
        [_, _, _, high, low, ..] => HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
        _ => HEADER_BYTES,
    }
}
