//! Records that cannot be used up yet, put together without looking at any byte twice.

/// The content type, the version and the length (RFC 8446, section 5.1).
const HEADER: usize = 5;

/// The longest record: its header, 2^14 bytes, and what TLS 1.2 lets a cipher add (RFC 5246,
/// section 6.2.3).
pub(super) const LONGEST_RECORD: usize = HEADER + (1 << 14) + 2048;

/// The most that a peer may leave here once the handshake is over: one record of a message whose rest
/// has not come, such as a long ticket, and one record that has not come whole.
pub(super) const MOST_IN_SESSION: usize = 2 * LONGEST_RECORD;

/// The most during a handshake, whatever the configuration allows: twice the longest message that
/// rustls takes, so that a broker's chain of certificates may come in small records.
pub(super) const MOST_IN_HANDSHAKE: usize = 2 << 16;

/// What one connection has sent and rustls has no use for yet: records of a handshake message whose
/// rest has not come, which rustls has decrypted where they lie and remembers its place in, and
/// behind them the beginning of a record.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Where the record begins that is not whole.
    last: usize,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Takes bytes from the front of `wire`, no more than to the end of a header or of a record, where
    /// there is something new for rustls. How many, and whether that is reached.
    pub(super) fn complete(&mut self, wire: &[u8]) -> (usize, bool) {
        let missing = record(&self.bytes[self.last..]) - (self.bytes.len() - self.last);
        let taken = missing.min(wire.len());
        self.bytes.extend_from_slice(&wire[..taken]);
        (taken, taken == missing)
    }

    /// Forgets what rustls has used up of the bytes here, after it has looked at all of them.
    pub(super) fn used(&mut self, consumed: usize) {
        let is_header =
            self.bytes.len() - self.last == HEADER && record(&self.bytes[self.last..]) > HEADER;
        if !is_header {
            self.last = self.bytes.len();
        }
        self.bytes.drain(..consumed);
        self.last -= consumed;
    }

    /// Keeps the rest of what was given to rustls without being held; `last`: where in it the record
    /// begins that is not whole.
    pub(super) fn keep(&mut self, rest: &[u8], last: usize) {
        self.bytes.extend_from_slice(rest);
        self.last = last;
    }

    /// Gives the memory back, as an idle connection needs none.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Puts a record of no type where the next one is to be. rustls answers it with the alert
    /// decode_error, and has no call that would send one.
    pub(super) fn spoil(&mut self) {
        self.bytes.truncate(self.last);
        self.bytes.extend([0xFF; HEADER]);
    }
}

/// Bytes of the whole records at the front of `wire`.
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

/// The length of the record that begins with `bytes`; of its header, as long as that is not whole.
fn record(bytes: &[u8]) -> usize {
    match bytes {
        [_, _, _, high, low, ..] => HEADER + usize::from(u16::from_be_bytes([*high, *low])),
        _ => HEADER,
    }
}
