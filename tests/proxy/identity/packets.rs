//! CONNECTs and CONNACKs, taken apart and made by other code than the proxy's.

use std::sync::mpsc::{Receiver, channel};

use crate::{
    broker::{Broker, Link, version},
    client::{Client, connack},
};

/// A broker that accepts every client with `answer` after the first four bytes of the CONNACK of
/// 5.0, and what its clients sent as their CONNECT.
pub(crate) fn recording() -> (Broker, Receiver<Vec<u8>>) {
    answering(|connect| connack(version(connect), 0))
}

/// A broker that answers by `answer`, and then sends back what it gets.
pub(crate) fn answering(
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> (Broker, Receiver<Vec<u8>>) {
    let (sender, connects) = channel();
    let broker = Broker::start(move |mut link: Link| {
        let Some(connect) = link.read_packet() else { return };
        let answer = answer(&connect);
        sender.send(connect).unwrap();
        link.send(&answer);
        while let Some(packet) = link.read_packet() {
            link.send(&packet);
        }
    });
    (broker, connects)
}

/// The client ID of a CONNECT whose fixed header has two bytes.
pub(crate) fn client_id(connect: &[u8]) -> String {
    let name = usize::from(connect[3]);
    let mut at = 2 + 2 + name + 1 + 1 + 2;
    if version(connect) == 5 {
        at += 1 + usize::from(connect[at]);
    }
    let len = usize::from(u16::from_be_bytes([connect[at], connect[at + 1]]));
    String::from_utf8(connect[at + 2..at + 2 + len].to_vec()).unwrap()
}

/// The ID in a CONNACK of 5.0 that has this property only, or nothing.
pub(crate) fn assigned_id(client: &mut Client) -> Option<String> {
    let head = client.rest_of(5);
    assert_eq!((head[0], head[2], head[3]), (0x20, 0, 0), "{head:x?}");
    let properties = client.rest_of(usize::from(head[4]));
    assert_eq!(usize::from(head[1]), 3 + properties.len());
    let [0x12, high, low, id @ ..] = &*properties else {
        assert!(properties.is_empty(), "{properties:x?}");
        return None;
    };
    assert_eq!(usize::from(u16::from_be_bytes([*high, *low])), id.len());
    Some(String::from_utf8(id.to_vec()).unwrap())
}
