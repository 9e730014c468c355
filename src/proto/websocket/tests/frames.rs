//! Compares the decoder with tungstenite, which shares no code with it, and feeds it random bytes.

use proptest::{collection::vec, prelude::*, sample::Index};
use tungstenite::protocol::{
    WebSocket as Oracle, WebSocketConfig,
    frame::{
        Frame, FrameHeader,
        coding::{Control, Data, OpCode},
    },
};
use tungstenite::{Message, protocol::Role};

use crate::proto::websocket::frame::{
    BINARY, CLOSE, CONTINUATION, FrameDecoder, FrameError, MAX_FRAME_BYTES, PING, PONG, StreamEnd,
    TEXT, put,
};

/// The result of decoding a stream.
#[derive(Debug, Default, PartialEq)]
struct Stream {
    payload: Vec<u8>,
    end: Option<StreamEnd>,
}

/// Decodes the pieces, and returns the newest Ping of each as well.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Stream, Vec<Vec<u8>>) {
    let mut frames = FrameDecoder::default();
    let (mut stream, mut pings) = (Stream::default(), Vec::new());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let decoded = frames.decode(&mut bytes);
        stream.payload.extend_from_slice(&bytes[..decoded.payload]);
        pings.extend(decoded.ping);
        if let Some(end) = decoded.end {
            assert_eq!(stream.end.replace(end), None);
        }
    }
    (stream, pings)
}

fn whole(bytes: &[u8]) -> Stream {
    decode([bytes]).0
}

/// `bytes` in pieces that end at these positions.
fn split<'a>(bytes: &'a [u8], at: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = at.iter().map(|index| index.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for end in at.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[from..end]);
        from = end;
    }
    pieces
}

/// A client's frame, encoded by tungstenite.
fn frame(opcode: OpCode, is_final: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

/// A handmade head: first byte, second byte, and the rest.
fn head(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, second], rest].concat()
}

/// One message: the payloads of its frames, each with the Ping before it, if there is one.
type Fragments = Vec<(Vec<u8>, [u8; 4], Option<Vec<u8>>)>;

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => vec(any::<u8>(), 0..40),
        6 => vec(any::<u8>(), 120..135),
        // Random bytes of this length would take long to generate.
        1 => (65_530..65_545usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn messages() -> impl Strategy<Value = Vec<Fragments>> {
    let ping = prop::option::weighted(0.2, vec(any::<u8>(), 0..=125));
    vec(vec((payload(), any::<[u8; 4]>(), ping), 1..5), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Messages of any fragmentation, with Pings between their frames, in any split.
    #[test]
    fn what_tungstenite_sends(messages in messages(), at in vec(any::<Index>(), 0..20)) {
        let (mut bytes, mut sent, mut pings) = (Vec::new(), Vec::new(), Vec::new());
        for fragments in &messages {
            for (n, (payload, mask, ping)) in fragments.iter().enumerate() {
                if let Some(ping) = ping {
                    bytes.extend(frame(OpCode::Control(Control::Ping), true, *mask, ping));
                    bytes.extend(frame(OpCode::Control(Control::Pong), true, *mask, ping));
                    pings.push(ping.clone());
                }
                let data = if n == 0 { Data::Binary } else { Data::Continue };
                let is_final = n + 1 == fragments.len();
                bytes.extend(frame(OpCode::Data(data), is_final, *mask, payload));
                sent.extend_from_slice(payload);
            }
        }
        let (stream, newest) = decode(split(&bytes, &at));
        prop_assert_eq!(stream.end, None);
        prop_assert!(stream.payload == sent);
        // If several Pings arrive together, the newest counts.
        let mut all = pings.iter();
        prop_assert!(newest.iter().all(|ping| all.any(|sent| sent == ping)));
        prop_assert_eq!(newest.last(), pings.last());
        let bytewise = decode(bytes.chunks(1));
        prop_assert!(bytewise.0.payload == sent);
        prop_assert_eq!(bytewise.1, pings);
    }

    /// Any bytes give the same result in any split, and an error ends the stream like a Close.
    #[test]
    fn noise(mut bytes in vec(any::<u8>(), 0..400), likely in any::<bool>(), at in vec(any::<Index>(), 0..20)) {
        if likely && bytes.len() > 2 {
            bytes[0] = 0x80 | [BINARY, PING, PONG, CLOSE][usize::from(bytes[0] & 3)];
            bytes[1] = 0x80 | (bytes[1] & 0x1F);
        }
        let stream = whole(&bytes);
        prop_assert_eq!(&decode(split(&bytes, &at)).0, &stream);
        prop_assert_eq!(&decode(bytes.chunks(1)).0, &stream);
        prop_assert!(stream.payload.len() <= bytes.len());
    }

    /// Tungstenite's client understands our frames.
    #[test]
    fn what_we_send(payloads in vec(payload(), 0..5)) {
        let mut bytes = Vec::new();
        for payload in &payloads {
            put(&mut bytes, BINARY, payload);
            put(&mut bytes, PONG, b"p");
        }
        put(&mut bytes, CLOSE, &1000u16.to_be_bytes());
        let wire = Wire(std::io::Cursor::new(bytes));
        let mut oracle = Oracle::from_raw_socket(wire, Role::Client, Some(WebSocketConfig::default()));
        for payload in payloads {
            prop_assert_eq!(oracle.read().unwrap(), Message::Binary(payload.into()));
            prop_assert_eq!(oracle.read().unwrap(), Message::Pong(b"p".to_vec().into()));
        }
        let Message::Close(Some(close)) = oracle.read().unwrap() else { panic!("no Close") };
        prop_assert_eq!(u16::from(close.code), 1000);
    }
}

/// A source of bytes to read; written bytes are discarded.
struct Wire(std::io::Cursor<Vec<u8>>);

impl std::io::Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl std::io::Write for Wire {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn faults() {
    let mask = [0; 4];
    let begun = frame(OpCode::Data(Data::Binary), false, mask, b"a");
    let length = |length: u64| [&length.to_be_bytes()[..], &mask].concat();
    for (bytes, fault, status) in [
        (head(0x82, 0x01, b"a"), FrameError::Unmasked, 1002),
        (head(0x88, 0x00, b""), FrameError::Unmasked, 1002),
        // Compressed, as in permessage-deflate.
        (head(0xC2, 0x81, &mask), FrameError::ReservedBits, 1002),
        (head(0xA2, 0x81, &mask), FrameError::ReservedBits, 1002),
        (head(0x92, 0x81, &mask), FrameError::ReservedBits, 1002),
        (head(0x80 | TEXT, 0x81, &mask), FrameError::Text, 1003),
        (head(TEXT, 0x81, &mask), FrameError::Text, 1003),
        (head(0x83, 0x81, &mask), FrameError::Opcode(3), 1002),
        (head(0x8B, 0x81, &mask), FrameError::Opcode(0xB), 1002),
        (head(PING, 0x81, &mask), FrameError::FragmentedControl, 1002),
        (head(CLOSE, 0x80, &mask), FrameError::FragmentedControl, 1002),
        (head(0x80 | PING, 0xFE, &[0, 126, 0, 0, 0, 0]), FrameError::LongControl, 1002),
        (head(0x80 | PONG, 0xFF, &length(126)), FrameError::LongControl, 1002),
        (head(0x80 | CONTINUATION, 0x80, &mask), FrameError::NothingToContinue, 1002),
        ([begun.clone(), head(0x82, 0x80, &mask)].concat(), FrameError::Interrupted, 1002),
        ([begun, head(0x81, 0x80, &mask)].concat(), FrameError::Interrupted, 1002),
        (head(0x82, 0xFF, &length(1 << 63)), FrameError::Length(1 << 63), 1002),
        (head(0x82, 0xFF, &length(u64::MAX)), FrameError::Length(u64::MAX), 1002),
        (head(0x82, 0xFF, &length((1 << 63) - 1)), FrameError::Long((1 << 63) - 1), 1009),
        (
            head(0x82, 0xFF, &length(MAX_FRAME_BYTES + 1)),
            FrameError::Long(MAX_FRAME_BYTES + 1),
            1009,
        ),
        (head(0x88, 0x81, &[0, 0, 0, 0, 3]), FrameError::HalfStatus, 1002),
    ] {
        assert_eq!(whole(&bytes).end, Some(StreamEnd::Faulty(fault)), "{bytes:x?}");
        assert_eq!(decode(bytes.chunks(1)).0, whole(&bytes));
        assert_eq!(fault.status(), status, "{fault}");
        // Bytes before the error are valid, bytes after it are ignored.
        let good = frame(OpCode::Data(Data::Binary), true, [7; 4], b"good");
        let stream = whole(&[&good, &bytes, &good[..]].concat());
        let before: &[u8] = if bytes[0] == BINARY { b"gooda" } else { b"good" };
        assert_eq!(
            stream,
            Stream { payload: before.to_vec(), end: Some(StreamEnd::Faulty(fault)) }
        );
    }
}

#[test]
fn lengths() {
    let mask = [1, 2, 3, 4];
    // A receiver need not check that a length is in its shortest form. The longest frame is
    // allowed.
    for (second, length) in [(0xFE, &[0, 3][..]), (0xFF, &[0, 0, 0, 0, 0, 0, 0, 3])] {
        let bytes = head(0x82, second, &[length, &mask, b"\x01\x02\x03"].concat());
        assert_eq!(whole(&bytes), Stream { payload: vec![0; 3], end: None });
    }
    let longest = MAX_FRAME_BYTES.to_be_bytes();
    let bytes = head(0x82, 0xFF, &[&longest[..], &mask, b"\x01\x02\x03\x04\x01"].concat());
    assert_eq!(whole(&bytes), Stream { payload: vec![0; 5], end: None });
}

#[test]
fn closes() {
    let close = |payload: &[u8]| frame(OpCode::Control(Control::Close), true, [9; 4], payload);
    for (payload, status) in [
        (&b""[..], None),
        (b"\x03\xE8", Some(1000)),
        (b"\x03\xE9bye", Some(1001)),
        (b"\x0B\xB8", Some(3000)),
        (b"\x13\x87", Some(4999)),
        // A status that must not be sent is not sent back.
        (b"\x03\xEC", Some(1002)),
        (b"\x03\xED", Some(1002)),
        (b"\x03\xF7", Some(1002)),
        (b"\x00\x00", Some(1002)),
        (b"\xFF\xFF", Some(1002)),
    ] {
        let stream = whole(&[close(payload), head(0x82, 0x01, b"a")].concat());
        assert_eq!(stream, Stream { payload: vec![], end: Some(StreamEnd::Closed(status)) });
    }
}

/// A decoder keeps only a few bytes between reads, whatever it has received.
#[test]
fn a_decoder_is_small() {
    assert!(size_of::<FrameDecoder>() <= 72, "{} bytes", size_of::<FrameDecoder>());
}
