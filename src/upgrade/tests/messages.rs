//! Messages over a connection, and between versions.

use std::os::fd::AsFd;

use proptest::prelude::*;
use serde::Serialize;

use super::super::{
    HandedListener, HandedSession, ProcessState, ToNew, ToOld, connect,
    connection::Error,
    decode, encode,
    message::{Answer, Envelope, Versions, encode_message},
    pair,
};
use crate::secret_bytes::SecretBytes;

/// The state of a session has the keys of its TLS connections.
#[test]
fn states_are_not_shown() {
    let state = SecretBytes::from(&b"\x00\xff"[..]);
    let sessions = ToNew::Sessions(vec![HandedSession { id: 7, state }]);
    let shown = "Sessions([HandedSession { id: 7, state: 2 secret bytes }])";
    assert_eq!(format!("{sessions:?}"), shown);
}

/// A buffer that grows leaves the keys in it behind.
#[test]
fn the_buffer_of_sessions_does_not_grow() {
    let session = |id, bytes| HandedSession { id, state: SecretBytes::from(&vec![7; bytes][..]) };
    for (count, bytes) in [(0, 0), (1, 0), (1, 300), (32, 70_000), (3, 1 << 20)] {
        let sessions = (0..count).map(|n| session(u64::MAX - n, bytes)).collect();
        let message = ToNew::Sessions(sessions);
        let reserved = message.encoded_bytes();
        let encoded = encode_message(&message).unwrap();
        assert!(encoded.len() <= reserved, "{} > {reserved}", encoded.len());
        assert_eq!(encoded.capacity(), reserved);
    }
}

#[tokio::test]
async fn messages_with_descriptors() {
    let (old, new) = pair().unwrap();
    let (mut to_new, mut from_new) = connect::<ToNew, ToOld>(old).unwrap();
    let (mut to_old, mut from_old) = connect::<ToOld, ToNew>(new).unwrap();
    let file = tempfile::tempfile().unwrap();
    let state = SecretBytes::from(&b"\x00\xff"[..]);
    let sessions = ToNew::Sessions(vec![HandedSession { id: u64::MAX, state }]);
    to_new.send(&sessions, &[file.as_fd(), file.as_fd()]).await.unwrap();
    let (received, descriptors) = from_old.next().await.unwrap().unwrap();
    assert_eq!(received, sessions);
    assert_eq!(descriptors.len(), 2);

    let too_few = to_new.send(&sessions, &[file.as_fd()]).await;
    assert!(matches!(too_few, Err(Error::Descriptors { expected: 2, found: 1 })));
    let too_large = ProcessState { bans: vec![0; 5 << 20].into(), ..ProcessState::default() };
    assert!(to_new.send(&ToNew::State(Box::new(too_large)), &[]).await.is_err());
    to_new.send(&ToNew::Go, &[]).await.expect("nothing was written before");
    assert_eq!(from_old.next().await.unwrap().unwrap().0, ToNew::Go);

    // Half-closed: what the new process writes still arrives, and after it the end.
    drop(to_new);
    assert!(from_old.next().await.unwrap().is_none());
    let answers = vec![
        Answer { id: 1, outcome: Ok(()) },
        Answer { id: 2, outcome: Err("unknown listener".into()) },
    ];
    to_old.send(&ToOld::Answers(answers.clone()), &[]).await.unwrap();
    drop((to_old, from_old));
    assert_eq!(from_new.next().await.unwrap().unwrap().0, ToOld::Answers(answers));
    assert!(from_new.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_process_has_written_is_read_though_it_left_something_unread() {
    let (old, new) = pair().unwrap();
    let (mut to_new, mut from_new) = connect::<ToNew, ToOld>(old).unwrap();
    let (mut to_old, from_old) = connect::<ToOld, ToNew>(new).unwrap();
    to_new.send(&ToNew::Go, &[]).await.unwrap();
    to_old.send(&ToOld::Accepting, &[]).await.unwrap();
    drop((to_old, from_old));
    assert!(to_new.send(&ToNew::Finished, &[]).await.is_err());
    assert!(matches!(to_new.send(&ToNew::Finished, &[]).await, Err(Error::Broken)));
    assert_eq!(from_new.next().await.unwrap().unwrap().0, ToOld::Accepting);
    assert!(from_new.next().await.unwrap().is_none());
}

#[test]
fn versions_that_add_fields_understand_each_other() {
    #[derive(Serialize)]
    struct Later {
        name: &'static str,
        descriptors: u16,
        added: Vec<u8>,
    }
    #[derive(Serialize)]
    enum LaterMessage {
        Listeners(Vec<Later>),
    }
    let later =
        LaterMessage::Listeners(vec![Later { name: "tls", descriptors: 2, added: vec![1, 2] }]);
    let message: ToNew = decode(&encode(&later).unwrap()).unwrap();
    let expected =
        HandedListener { name: "tls".into(), descriptors: 2, ..HandedListener::default() };
    assert_eq!(message, ToNew::Listeners(vec![expected]));
    assert_eq!(message.descriptors(), 2);
}

#[test]
fn the_newest_version_in_common() {
    let versions = |min, max| Versions { min, max };
    assert_eq!(versions(1, 1).newest_in_common(versions(1, 3)), Some(1));
    assert_eq!(versions(2, 4).newest_in_common(versions(1, 3)), Some(3));
    assert_eq!(versions(2, 4).newest_in_common(versions(5, 6)), None);
    assert_eq!(versions(5, 6).newest_in_common(versions(2, 4)), None);
}

proptest! {
    #[test]
    fn garbage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<ToNew>(&bytes);
        let _ = decode::<ToOld>(&bytes);
    }

    #[test]
    fn corrupted_messages_are_an_error(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let session = HandedSession { id: 1, state: SecretBytes::from(&[3; 20][..]) };
        let mut bytes = encode(&ToNew::Sessions(vec![session])).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode::<ToNew>(&bytes);
        prop_assert!(decode::<ToNew>(&bytes[..at]).is_err());
    }
}
