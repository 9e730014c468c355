//! WebSocket frames as a stream of bytes (RFC 6455, section 5), without I/O.
//!
//! A frame may be as long as the largest MQTT packet, and a message has no length limit. So neither
//! is buffered: the part of a frame's payload that has arrived is passed on.

use serde::{Deserialize, Serialize};

/// The longest payload of a frame: the longest MQTT packet (MQTT 5.0, 2.1.4), with 5 bytes of fixed
/// header and 268,435,455 bytes after it.
pub(crate) const MAX_FRAME_BYTES: u64 = 5 + 268_435_455;

/// The longest payload of a control frame (section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;

/// The longest head of a client's frame: 2 bytes, 8 bytes of extended length and 4 of mask.
const MAX_FRAME_HEAD_BYTES: usize = 14;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Bits that are defined only by extensions, such as compression.
const RESERVED: u8 = 0x70;

/// Opcodes (section 5.2).
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// Status codes of a Close (section 7.4.1).
pub(crate) const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;
const TOO_BIG: u16 = 1009;

/// A client's violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FrameError {
    #[error("a WebSocket frame without a mask")]
    Unmasked,
    #[error("a WebSocket frame with reserved bits, although no extension was agreed on")]
    ReservedBits,
    #[error("a WebSocket frame with the reserved opcode {0:#x}")]
    Opcode(u8),
    #[error("a WebSocket text frame; MQTT requires binary frames (MQTT 5.0, section 6.0)")]
    Text,
    #[error("a WebSocket control frame in fragments")]
    FragmentedControl,
    #[error("a WebSocket control frame of more than 125 bytes")]
    LongControl,
    #[error("a WebSocket continuation frame without a message to continue")]
    NothingToContinue,
    #[error("a new WebSocket message inside another")]
    Interrupted,
    #[error("a WebSocket frame of {0} bytes; the highest bit of a length must be 0")]
    Length(u64),
    #[error("a WebSocket frame of {0} bytes, longer than any MQTT packet")]
    Long(u64),
    #[error("a WebSocket Close frame with one byte of a status code")]
    HalfStatus,
}

impl FrameError {
    /// The status code to close with.
    pub fn status(self) -> u16 {
        match self {
            Self::Text => UNSUPPORTED_DATA,
            Self::Long(_) => TOO_BIG,
            _ => PROTOCOL_ERROR,
        }
    }
}

/// The result of decoding a piece of a client's stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of payload, which are now at the front of the piece.
    pub payload: usize,
    /// The payload of the newest Ping; only that one has to be answered (section 5.5.3).
    pub ping: Option<Vec<u8>>,
    /// How the stream ended after the payload, if it did.
    pub end: Option<StreamEnd>,
}

/// How a client's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// A Close, with the status to answer it with (section 5.5.1); `None`: the Close has no status.
    Closed(Option<u16>),
    Faulty(FrameError),
}

/// Decodes the frames of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameDecoder {
    /// The beginning of a head whose rest has not arrived.
    head: [u8; MAX_FRAME_HEAD_BYTES],
    head_len: u8,
    /// The opcode of the current frame.
    opcode: u8,
    /// Bytes of that frame's payload that have not arrived.
    left: u64,
    /// The mask, rotated so that its first byte applies to the next byte of the payload.
    mask: [u8; 4],
    /// A message has begun, and its last frame has not arrived.
    in_message: bool,
    /// The part of a control frame's payload that has arrived.
    control: Vec<u8>,
    ended: bool,
}

impl FrameDecoder {
    /// Decodes the frames in `bytes` in place. Bytes after the end of the stream are ignored.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Decoded {
        let mut decoded = Decoded::default();
        let mut read = 0;
        while read < bytes.len() && !self.ended {
            if self.left == 0 {
                match self.take_head(bytes[read]) {
                    Ok(is_whole) if is_whole && self.left == 0 => self.finish(&mut decoded),
                    Ok(_) => {}
                    Err(fault) => self.end(&mut decoded, StreamEnd::Faulty(fault)),
                }
                read += 1;
                continue;
            }
            let here = (bytes.len() - read).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let arrived = read..read + here;
            self.unmask(&mut bytes[arrived.clone()]);
            match self.opcode {
                CLOSE | PING => self.control.extend_from_slice(&bytes[arrived]),
                PONG => {}
                _ => {
                    bytes.copy_within(arrived, decoded.payload);
                    decoded.payload += here;
                }
            }
            read += here;
            self.left -= here as u64;
            if self.left == 0 {
                self.finish(&mut decoded);
            }
        }
        decoded
    }

    /// Whether [`Self::decode`] can have produced this state. Another, from outside of this process,
    /// could make it panic or keep more than [`MAX_CONTROL_BYTES`].
    pub(crate) fn is_possible(&self) -> bool {
        let in_control = matches!(self.opcode, CLOSE | PING) && self.left > 0;
        let control_bytes = self.control.len() as u64;
        usize::from(self.head_len) < MAX_FRAME_HEAD_BYTES
            && (self.head_len == 0 || self.left == 0)
            && self.left <= MAX_FRAME_BYTES
            && if in_control {
                self.left.saturating_add(control_bytes) <= MAX_CONTROL_BYTES as u64
            } else {
                control_bytes == 0
            }
    }

    /// Reads one more byte of a head; true once the head is complete.
    fn take_head(&mut self, byte: u8) -> Result<bool, FrameError> {
        let at = usize::from(self.head_len);
        self.head[at] = byte;
        self.head_len += 1;
        let [first, second, rest @ ..] = &self.head;
        if at == 0 {
            return Ok(false);
        }
        if at == 1 {
            self.check(*first, *second)?;
        }
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if at + 1 < 2 + extended + 4 {
            return Ok(false);
        }
        let (length, mask) = rest.split_at(extended);
        // The shortest form of a length is required of senders only.
        let length = match extended {
            0 => u64::from(second & !MASKED),
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length >> 63 != 0 {
            return Err(FrameError::Length(length));
        }
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::Long(length));
        }
        self.mask = [mask[0], mask[1], mask[2], mask[3]];
        self.opcode = first & 0x0F;
        self.left = length;
        self.head_len = 0;
        if self.opcode & CLOSE == 0 {
            self.in_message = first & FIN == 0;
        }
        Ok(true)
    }

    /// Checks the first two bytes of a head.
    fn check(&self, first: u8, second: u8) -> Result<(), FrameError> {
        let is_last = first & FIN != 0;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        match first & 0x0F {
            CONTINUATION if !self.in_message => Err(FrameError::NothingToContinue),
            TEXT | BINARY if self.in_message => Err(FrameError::Interrupted),
            TEXT => Err(FrameError::Text),
            CLOSE | PING | PONG if !is_last => Err(FrameError::FragmentedControl),
            CLOSE | PING | PONG if usize::from(second & !MASKED) > MAX_CONTROL_BYTES => {
                Err(FrameError::LongControl)
            }
            CONTINUATION | BINARY | CLOSE | PING | PONG => Ok(()),
            opcode => Err(FrameError::Opcode(opcode)),
        }
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        let (words, rest) = payload.as_chunks_mut::<4>();
        let mask = u32::from_ne_bytes(self.mask);
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ mask).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        self.mask.rotate_left(rest.len());
    }

    /// Acts on a frame whose payload is complete.
    fn finish(&mut self, decoded: &mut Decoded) {
        match self.opcode {
            PING => decoded.ping = Some(std::mem::take(&mut self.control)),
            CLOSE => {
                let end = match *std::mem::take(&mut self.control) {
                    [] => StreamEnd::Closed(None),
                    [_] => StreamEnd::Faulty(FrameError::HalfStatus),
                    [high, low, ..] => {
                        let status = u16::from_be_bytes([high, low]);
                        StreamEnd::Closed(Some(if may_be_sent(status) {
                            status
                        } else {
                            PROTOCOL_ERROR
                        }))
                    }
                };
                self.end(decoded, end);
            }
            _ => {}
        }
    }

    fn end(&mut self, decoded: &mut Decoded, end: StreamEnd) {
        self.ended = true;
        decoded.end = Some(end);
    }
}

/// Whether a Close may carry this status: those of section 7.4.1 that are not reserved for local
/// use, those registered later, and those of libraries and applications.
fn may_be_sent(status: u16) -> bool {
    matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Appends a server's frame, which is not masked.
pub(crate) fn put(to: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    to.push(FIN | opcode);
    match payload.len() {
        length @ ..126 => to.push(length as u8),
        length @ 126..=0xFFFF => {
            to.push(126);
            to.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            to.push(127);
            to.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    to.extend_from_slice(payload);
}
