//! Bytes that no peer would send.

use std::{cell::RefCell, rc::Rc};

use proptest::{collection::vec, prelude::*};
use rustls::Side;

use super::{Pair, suites};
use crate::net::{
    aead_keys::AeadKeys,
    buffer::Buffer,
    stream::tls::{
        record::{RecordLayer, RecordState},
        records::ReadRecords,
    },
};

/// A state of each suite.
fn states() -> Vec<String> {
    let pairs = suites().map(|suite| Pair::new(suite, Side::Server));
    pairs.map(|pair| serde_json::to_string(&pair.ours.state()).unwrap()).collect()
}

thread_local! {
    static STATES: RefCell<Vec<String>> = RefCell::new(states());
}

fn layer(of_suite: usize) -> RecordLayer {
    let state: RecordState = STATES
        .with_borrow(|states| serde_json::from_str(&states[of_suite % states.len()]).unwrap());
    RecordLayer::from_state(state, Rc::new(AeadKeys::default())).unwrap()
}

/// The beginning of a record, or anything else.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let record = (20..=25_u8, 2..=4_u8, any::<u8>(), vec(any::<u8>(), 0..100)).prop_map(
        |(content_type, major, minor, payload)| {
            let mut record = vec![content_type, major, minor, 0, payload.len() as u8];
            record.extend(payload);
            record
        },
    );
    prop_oneof![vec(any::<u8>(), 0..300), vec(record, 0..4).prop_map(|records| records.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_and_gives_nothing(of_suite in 0..9_usize, mut wire in wire()) {
        let (mut layer, mut outbox) = (layer(of_suite), Buffer::default());
        let len = wire.len();
        match layer.read(&mut wire, &mut outbox, |_| panic!("plaintext")) {
            Ok(consumed) => prop_assert!(consumed <= len && outbox.is_empty()),
            // At most an alert.
            Err(_) => prop_assert!(outbox.bytes().len() < 64),
        }
        prop_assert_eq!(layer.kept_bytes(), 0);
    }

    #[test]
    fn states_of_any_bytes(text in vec(any::<u8>(), 0..300)) {
        if let Ok(state) = serde_json::from_slice::<RecordState>(&text) {
            let _ = RecordLayer::from_state(state, Rc::default());
        }
    }
}
