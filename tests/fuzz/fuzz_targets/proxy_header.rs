//! Any bytes, in any split, get one verdict on whether they start with a PROXY header.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz proxy_header`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::proto::proxy_header::{DetectedHeader, Header, HeaderError, MAX_HEADER_BYTES, HeaderProgress, detect, parse, write_v1, write_v2};

fuzz_target!(|bytes: &[u8]| {
    let mut verdict: Option<Result<HeaderProgress, HeaderError>> = None;
    for end in 0..=bytes.len() {
        let parsed = parse(&bytes[..end]);
        match (&verdict, parsed) {
            (Some(verdict), parsed) => assert_eq!(parsed, *verdict),
            (None, Ok(HeaderProgress::Incomplete)) => assert!(end < MAX_HEADER_BYTES),
            (None, parsed) => {
                if let Ok(HeaderProgress::Complete { len, .. }) = &parsed {
                    assert_eq!(*len, end);
                }
                verdict = Some(parsed);
            }
        }
    }
    if let Some(Ok(HeaderProgress::Complete { header, .. })) = verdict {
        assert!(matches!(detect(bytes), DetectedHeader::V1 | DetectedHeader::V2));
        pass_on(header);
    }
});

/// What was said is what the next one is told.
fn pass_on(header: Header) {
    let Header { addresses, tls, unique_id } = header;
    let unique_id = unique_id.unwrap_or_default();
    for written in [write_v1(addresses), write_v2(addresses, tls.as_ref(), &unique_id, [])] {
        let Ok(HeaderProgress::Complete { header, len }) = parse(&written) else {
            panic!("{}", written.escape_ascii())
        };
        assert_eq!((header.addresses, len), (addresses, written.len()));
    }
}
