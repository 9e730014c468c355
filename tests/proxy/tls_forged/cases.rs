//! What a peer sends after the handshake, and what that leads to: the same as with rustls.

use super::key::Key;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;

/// A part of the log's `detail`, and the alert that the peer is sent.
pub(super) type Outcome = (&'static str, Option<u8>);

/// The session ends as if the peer had just closed.
pub(super) const ENDED: Outcome = ("", Some(0));
const OVERSIZED: Outcome = ("peer sent excess record size", Some(22));
const NOT_DECRYPTED: Outcome = ("cannot decrypt peer's message", Some(20));

/// Makes records with the peer's key.
type Forge = fn(&mut Key) -> Vec<u8>;

const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];

/// The outcomes are those of TLS 1.3 and of TLS 1.2.
pub(super) const CASES: &[(&str, Forge, [Outcome; 2])] = &[
    ("nothing", |_| Vec::new(), [ENDED, ENDED]),
    ("an empty record", |key| key.seal(DATA, b""), [ENDED, ENDED]),
    ("32 empty records", |key| records(key, &[(DATA, &b""[..]); 32]), [ENDED, ENDED]),
    (
        "33 empty records",
        |key| records(key, &[(DATA, &b""[..]); 33]),
        [("TooManyEmptyFragments", None), ("TooManyEmptyFragments", None)],
    ),
    ("2^14 + 1", |key| key.seal(DATA, &[0; 16385]), [OVERSIZED, OVERSIZED]),
    ("2^14 + 240", |key| key.seal(DATA, &[0; 16384 + 240]), [OVERSIZED, OVERSIZED]),
    ("2^14 + 257", |key| key.seal(DATA, &[0; 16384 + 257]), [OVERSIZED, OVERSIZED]),
    ("2^14 + 2000", |key| key.seal(DATA, &[0; 16384 + 2000]), [OVERSIZED, OVERSIZED]),
    (
        "2^14 + 2048",
        |_| vec![23, 3, 3, 0x48, 0],
        [("MessageTooLarge", Some(50)), ("MessageTooLarge", Some(50))],
    ),
    (
        "a length of 65535",
        |_| vec![23, 3, 3, 0xFF, 0xFF],
        [("MessageTooLarge", Some(50)), ("MessageTooLarge", Some(50))],
    ),
    ("a length of 0", |_| vec![23, 3, 3, 0, 0], [NOT_DECRYPTED, NOT_DECRYPTED]),
    ("less than a tag", |_| vec![23, 3, 3, 0, 3, 1, 2, 3], [NOT_DECRYPTED, NOT_DECRYPTED]),
    (
        "type 0",
        |_| vec![0, 3, 3, 0, 1, 0],
        [("InvalidContentType", Some(50)), ("InvalidContentType", Some(50))],
    ),
    (
        "type 25",
        |_| vec![25, 3, 3, 0, 1, 0],
        [("InvalidContentType", Some(50)), ("InvalidContentType", Some(50))],
    ),
    (
        "version 2",
        |_| vec![23, 2, 0],
        [("UnknownProtocolVersion", Some(50)), ("UnknownProtocolVersion", Some(50))],
    ),
    ("a plaintext alert", |_| vec![21, 3, 3, 0, 2, 2, 40], [NOT_DECRYPTED, NOT_DECRYPTED]),
    ("a plaintext close_notify", |_| vec![21, 3, 3, 0, 2, 1, 0], [NOT_DECRYPTED, NOT_DECRYPTED]),
    (
        "plaintext data",
        |_| b"\x17\x03\x03\x00\x20aaaaaaaabbbbbbbbccccccccdddddddd".to_vec(),
        [NOT_DECRYPTED, NOT_DECRYPTED],
    ),
    (
        "change_cipher_spec",
        |_| vec![20, 3, 3, 0, 1, 1],
        [
            ("unexpected message: got ChangeCipherSpec", Some(10)),
            ("unexpected message: got ChangeCipherSpec", Some(10)),
        ],
    ),
    (
        "change_cipher_spec 2",
        |_| vec![20, 3, 3, 0, 1, 2],
        [("InvalidCcs", Some(50)), ("InvalidCcs", Some(50))],
    ),
    (
        "protected change_cipher_spec",
        |key| key.seal(CHANGE_CIPHER_SPEC, &[1]),
        [("IllegalMiddleboxChangeCipherSpec", Some(10)), ("InvalidCcs", Some(50))],
    ),
    (
        "inner type 0",
        |key| key.seal(0, b""),
        [("IllegalTlsInnerPlaintext", None), ("InvalidContentType", Some(50))],
    ),
    (
        "all padding",
        |key| key.seal(0, &[0; 1000]),
        [("IllegalTlsInnerPlaintext", None), ("InvalidContentType", Some(50))],
    ),
    (
        "inner type 99",
        |key| key.seal(99, b"x"),
        [("InvalidContentType", Some(50)), ("InvalidContentType", Some(50))],
    ),
    (
        "heartbeat",
        |key| key.seal(24, b"x"),
        [("InvalidContentType", Some(50)), ("InvalidContentType", Some(50))],
    ),
    (
        "interleaved",
        |key| records(key, &[(HANDSHAKE, &[24, 0]), (DATA, b"x")]),
        [
            ("MessageInterleavedWithHandshakeMessage", None),
            ("MessageInterleavedWithHandshakeMessage", None),
        ],
    ),
    (
        "interleaved alert",
        |key| records(key, &[(HANDSHAKE, &[24, 0]), (ALERT, &[1, 0])]),
        [
            ("MessageInterleavedWithHandshakeMessage", None),
            ("MessageInterleavedWithHandshakeMessage", None),
        ],
    ),
    (
        "half an alert",
        |key| key.seal(ALERT, &[2]),
        [
            ("MissingData(\"AlertDescription\")", Some(50)),
            ("MissingData(\"AlertDescription\")", Some(50)),
        ],
    ),
    (
        "an empty alert",
        |key| key.seal(ALERT, b""),
        [("MissingData(\"AlertLevel\")", Some(50)), ("MissingData(\"AlertLevel\")", Some(50))],
    ),
    (
        "alert level 3",
        |key| key.seal(ALERT, &[3, 40]),
        [("fatal alert: HandshakeFailure", Some(47)), ("fatal alert: HandshakeFailure", Some(47))],
    ),
    (
        "warning 40",
        |key| key.seal(ALERT, &[1, 40]),
        [("fatal alert: HandshakeFailure", Some(50)), ENDED],
    ),
    (
        "fatal 40",
        |key| key.seal(ALERT, &[2, 40]),
        [("fatal alert: HandshakeFailure", None), ("fatal alert: HandshakeFailure", None)],
    ),
    (
        "fatal 255",
        |key| key.seal(ALERT, &[2, 255]),
        [
            ("fatal alert: AlertDescription(0xff)", None),
            ("fatal alert: AlertDescription(0xff)", None),
        ],
    ),
    ("close_notify", |key| key.seal(ALERT, &[1, 0]), [ENDED, ENDED]),
    (
        "data after close_notify",
        |key| records(key, &[(ALERT, &[1, 0]), (DATA, &[0xFF])]),
        [ENDED, ENDED],
    ),
    ("fatal close_notify", |key| key.seal(ALERT, &[2, 0]), [ENDED, ENDED]),
    (
        "5 warnings",
        |key| records(key, &[(ALERT, &[1, 90][..]); 5]),
        [("TooManyWarningAlertsReceived", None), ("TooManyWarningAlertsReceived", None)],
    ),
    (
        "two key updates in one record",
        |key| key.seal(HANDSHAKE, &[KEY_UPDATE; 2].concat()),
        [
            ("KeyEpochWithPendingFragment", Some(10)),
            ("unexpected message: got Handshake", Some(10)),
        ],
    ),
    (
        "key update 2",
        |key| key.seal(HANDSHAKE, &[24, 0, 0, 1, 2]),
        [("InvalidKeyUpdate", Some(47)), ("unexpected message: got Handshake", Some(10))],
    ),
    (
        "the old key after a key update",
        |key| records(key, &[(HANDSHAKE, &KEY_UPDATE), (DATA, b"x")]),
        [("cannot decrypt peer's message", None), ("unexpected message: got Handshake", Some(10))],
    ),
    (
        "a message of 64 KiB",
        |key| key.seal(HANDSHAKE, &[24, 1, 0, 0, 0]),
        [("HandshakePayloadTooLarge", None), ("HandshakePayloadTooLarge", None)],
    ),
    (
        "a long message in parts",
        |key| {
            let mut wire = key.seal(HANDSHAKE, &[24, 0, 0xFF, 0xFF]);
            (0..4).for_each(|_| wire.extend(key.seal(HANDSHAKE, &[0; 1 << 14])));
            wire
        },
        [("more than 36874 bytes", Some(50)), ("more than 36874 bytes", Some(50))],
    ),
    (
        "a finished message",
        |key| key.seal(HANDSHAKE, &[20, 0, 0, 1, 1]),
        [
            ("unexpected handshake message: got Finished", Some(10)),
            ("unexpected message: got Handshake", Some(10)),
        ],
    ),
    (
        "a record of the past",
        |key| {
            let one = key.seal(DATA, b"\xC0\x00");
            [&one[..], &one].concat()
        },
        [NOT_DECRYPTED, NOT_DECRYPTED],
    ),
    (
        "a record of the future",
        |key| {
            key.next += 1;
            key.seal(DATA, b"\xC0\x00")
        },
        [NOT_DECRYPTED, NOT_DECRYPTED],
    ),
    (
        "a cut record",
        |key| {
            let one = key.seal(DATA, b"\xC0\x00");
            one[..one.len() - 1].to_vec()
        },
        [ENDED, ENDED],
    ),
    (
        "a wrong tag",
        |key| {
            let mut one = key.seal(DATA, b"\xC0\x00");
            *one.last_mut().unwrap() ^= 1;
            one
        },
        [NOT_DECRYPTED, NOT_DECRYPTED],
    ),
];

/// All these records.
fn records(key: &mut Key, records: &[(u8, &[u8])]) -> Vec<u8> {
    records.iter().flat_map(|(content_type, text)| key.seal(*content_type, text)).collect()
}
