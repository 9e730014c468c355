//! Any bytes, in any split, get one verdict on the request that they start with, and unwrap to the
//! same bytes behind it.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz websocket`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::{
    config::{PathPattern, WebSocket},
    proto::websocket::{
        frame::{FrameDecoder, MAX_CONTROL_BYTES, StreamEnd},
        request,
    },
};

/// The default of `websocket.max_head`.
const MAX_HEAD_BYTES: usize = 8 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    match head(bytes) {
        Some(len) => frames(&bytes[len..], piece),
        None => frames(bytes, piece),
    }
});

/// The length of a request that is granted.
fn head(bytes: &[u8]) -> Option<usize> {
    let rules = WebSocket {
        paths: vec![PathPattern::Exact("/mqtt".into()), PathPattern::Prefix("/mqtt/".into())],
        max_head: MAX_HEAD_BYTES,
        subprotocols: vec!["mqtt".into()],
        without_subprotocol: true,
        ping: None,
        forwarded_for: ["10.0.0.0/8".parse().ok()?].into_iter().collect(),
        origins: Some(vec!["https://app.example".into()]),
    };
    let mut verdict = None;
    for end in 0..=bytes.len().min(MAX_HEAD_BYTES + 1) {
        match (&verdict, request::parse(&bytes[..end], &rules)) {
            (None, Ok(None)) => assert!(end < MAX_HEAD_BYTES),
            (None, parsed) => verdict = Some(parsed),
            // What is refused stays refused, for one reason or another.
            (Some(Err(_)), parsed) => assert!(parsed.is_err()),
            (Some(Ok(_)), parsed) => assert_eq!(Some(parsed), verdict),
        }
    }
    match verdict? {
        Ok(granted) => granted.map(|request| {
            assert!(request.len <= MAX_HEAD_BYTES);
            assert!(request.response().ends_with("\r\n\r\n"));
            request.len
        }),
        Err(refusal) => {
            let response = refusal.response();
            let body = response.split_once("\r\n\r\n").map(|(_, body)| body);
            assert_eq!(body, Some(&*format!("{}\n", refusal.detail)));
            None
        }
    }
}

fn frames(bytes: &[u8], piece: u8) {
    let whole = unwrap([bytes]);
    assert!(whole.0.len() <= bytes.len());
    assert_eq!(unwrap(bytes.chunks(1)), whole);
    assert_eq!(unwrap(bytes.chunks(usize::from(piece).max(1))), whole);
}

/// What the frames carry, and how they end.
fn unwrap<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<StreamEnd>) {
    let mut decoder = FrameDecoder::default();
    let (mut payload, mut end) = (Vec::new(), None);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let decoded = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..decoded.payload]);
        assert!(decoded.ping.is_none_or(|ping| ping.len() <= MAX_CONTROL_BYTES));
        if decoded.end.is_some() {
            assert_eq!(end, None);
            end = decoded.end;
        }
    }
    (payload, end)
}
