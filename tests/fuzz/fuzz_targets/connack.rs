//! Any bytes, in any split, get one verdict on whether they start with a CONNACK.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz connack`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::proto::mqtt::{Progress, Version, connack, first_packet_is_auth, packet_len, reason};

/// Small, so that packets over it are found soon.
const LIMIT: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let _ = (packet_len(bytes), first_packet_is_auth(bytes));
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut verdict = None;
        for end in 0..=bytes.len() {
            let parsed = connack::parse(&bytes[..end], version, LIMIT);
            match (verdict, parsed) {
                (Some(verdict), parsed) => assert_eq!(parsed, verdict),
                (None, Ok(Progress::Incomplete { need })) => assert!(end < need && need <= LIMIT),
                (None, parsed) => verdict = Some(parsed),
            }
        }
        if let Some(Ok(Progress::Complete(connack))) = verdict {
            assert_eq!(packet_len(bytes), Ok(Some(connack.len)));
            assert!(!reason::name(version, connack.code).is_empty());
            let texts =
                [connack.assigned_client_id, connack.server_reference, connack.reason_string];
            for span in texts.into_iter().flatten() {
                assert!(span.range().end <= connack.len);
                assert_eq!(span.of(bytes).len(), span.range().len());
            }
        }
    }
});
