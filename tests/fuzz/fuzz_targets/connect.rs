//! Any bytes, in any split, get one verdict on whether they start with a CONNECT, and a lenient reader
//! accepts whatever a strict one does.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz connect`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::proto::mqtt::{Connect, Malformed, Progress, Strictness, connect};

/// Small, so that packets over it are found soon.
const LIMIT: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let mut verdict: Option<Result<Progress<Connect>, Malformed>> = None;
    for end in 0..=bytes.len() {
        let parsed = connect::parse(&bytes[..end], LIMIT, Strictness::Strict).map_err(|refusal| {
            // Whatever is answered is a whole CONNACK that refuses.
            if let Some(answer) = refusal.connack() {
                assert_eq!((answer[0], usize::from(answer[1]) + 2), (0x20, answer.len()));
                assert_ne!(answer[3], 0);
            }
            refusal.reason
        });
        match (verdict, parsed) {
            (Some(verdict), parsed) => assert_eq!(parsed, verdict),
            (None, Ok(Progress::Incomplete { need })) => assert!(end < need && need <= LIMIT),
            (None, parsed) => verdict = Some(parsed),
        }
    }
    if let Some(Ok(Progress::Complete(connect))) = verdict {
        check(&connect, bytes);
        assert!(connect.conforms);
    }
    // A lenient reader accepts the same packets in the same way, and knows what is wrong with others.
    let lenient = connect::parse(bytes, LIMIT, Strictness::Lenient);
    match (lenient, verdict) {
        (Ok(Progress::Complete(connect)), Some(Err(violation))) => {
            assert!(!connect.conforms && connect.len <= bytes.len());
            assert_eq!(connect.violation(bytes), Some(violation));
            let topic = connect.will.map(|will| will.topic);
            for span in [Some(connect.client_id), connect.username, connect.password, topic] {
                assert!(span.is_none_or(|span| span.range().end <= connect.len));
            }
        }
        (Ok(Progress::Complete(connect)), _) => {
            assert_eq!(Some(Ok(Progress::Complete(connect))), verdict);
        }
        (Ok(Progress::Incomplete { .. }), verdict) => assert!(!matches!(verdict, Some(Ok(_)))),
        (Err(_), verdict) => assert!(matches!(verdict, Some(Err(_)))),
    }
});

/// Every string lies in the packet, behind its own length.
fn check(connect: &Connect, bytes: &[u8]) {
    let packet = &bytes[..connect.len];
    let topic = connect.will.map(|will| will.topic);
    for span in [Some(connect.client_id), connect.username, topic].into_iter().flatten() {
        let text = span.of(packet);
        let range = span.range();
        assert_eq!(text.as_bytes(), &packet[range.clone()]);
        assert!(!text.contains('\0'));
        let len = [packet[range.start - 2], packet[range.start - 1]];
        assert_eq!(usize::from(u16::from_be_bytes(len)), range.len());
    }
}
