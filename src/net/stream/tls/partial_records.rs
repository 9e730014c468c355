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
pub(super) struct PartialRecords(Option<Box<Partial>>);

/// Boxed, as idle connections have none.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// Where the incomplete record begins.
    last: usize,
}

impl PartialRecords {
    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The beginning of a record; `None` if it is complete.
    pub(super) fn beginning(bytes: &[u8]) -> Option<Self> {
        let mut this = Self::default();
        this.keep(bytes, 0);
        (bytes.len() < record(bytes)).then_some(this)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |partial| &partial.bytes)
    }

    /// Takes all that is kept.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |partial| partial.bytes)
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |partial| &mut partial.bytes)
    }

    /// Takes bytes from the front of `wire`, at most to the end of a record header or of a record,
    /// where reading can continue. Returns how many, and whether that end was reached.
    pub(super) fn complete(&mut self, wire: &[u8]) -> (usize, bool) {
        let Partial { bytes, last } = &mut **self.0.get_or_insert_default();
        let missing = record(&bytes[*last..]) - (bytes.len() - *last);
        let taken = missing.min(wire.len());
        bytes.extend_from_slice(&wire[..taken]);
        (taken, taken == missing)
    }

    /// Discards the first `consumed` bytes, after all of them are read.
    pub(super) fn discard(&mut self, consumed: usize) {
        let Some(partial) = &mut self.0 else { return };
        let Partial { bytes, last } = &mut **partial;
        let is_header =
            bytes.len() - *last == HEADER_BYTES && record(&bytes[*last..]) > HEADER_BYTES;
        if !is_header {
            *last = bytes.len();
        }
        bytes.drain(..consumed);
        *last -= consumed;
    }

    /// Keeps the rest of a buffer that was read directly; `last`: where the incomplete
    /// record begins in it.
    pub(super) fn keep(&mut self, rest: &[u8], last: usize) {
        if !rest.is_empty() {
            let partial = self.0.get_or_insert_default();
            partial.bytes.extend_from_slice(rest);
            partial.last = last;
        }
    }

    /// Frees the memory if nothing is kept: an idle connection needs none.
    pub(super) fn shrink(&mut self) {
        self.0.take_if(|partial| partial.bytes.is_empty());
    }

    /// Appends a record of an unknown type, which is answered with the alert decode_error: rustls
    /// has no call for that.
    pub(super) fn append_invalid_record(&mut self) {
        let Partial { bytes, last } = &mut **self.0.get_or_insert_default();
        bytes.truncate(*last);
        bytes.extend([0xFF; HEADER_BYTES]);
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
