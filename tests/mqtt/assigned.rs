//! The Assigned Client Identifier that is added to a broker's CONNACK.

use std::num::NonZeroU32;

use mqtt_lb::testing::proto::mqtt::{
    Connack, Progress, Version,
    connack::{self, add_assigned_client_id},
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::encoder::{text, user_property, varint};
use crate::{PIPELINED, packet, string};

/// The longest packet of MQTT (5.0 §2.1.4): several properties can exceed the limit of brokers'
/// CONNACKs.
const MAX_PACKET_BYTES: usize = 268_435_460;

const ID: &str = "0123456789abcdefABCDEF";

fn connack(flags_and_code: [u8; 2], properties: &[u8]) -> Vec<u8> {
    packet(0x20, &[&flags_and_code, &varint(properties.len())[..], properties].concat())
}

fn assigned(id: &str) -> Vec<u8> {
    [vec![0x12], string(id)].concat()
}

fn parse(reply: &[u8]) -> Connack {
    let parsed = connack::parse(reply, Version::V5, MAX_PACKET_BYTES);
    let Ok(Progress::Complete(connack)) = parsed else { panic!("{parsed:?}") };
    connack
}

/// The reply with the ID added, and its bytes before if nothing was.
fn add(reply: &[u8], id: &str, maximum: Option<u32>) -> (Option<usize>, Vec<u8>) {
    let mut reply = reply.to_vec();
    let len = parse(&reply).len;
    let maximum = maximum.and_then(NonZeroU32::new);
    let added = add_assigned_client_id(&mut reply, len, id, maximum);
    (added, reply)
}

proptest! {
    #[test]
    fn all_other_bytes_stay(
        session_present in any::<bool>(),
        properties in vec((text(), text()).prop_map(|(n, v)| user_property(&n, &v)), 0..4),
        keep_alive in any::<bool>(),
        id in text(),
        behind in vec(any::<u8>(), 0..40),
    ) {
        let keep_alive: &[u8] = if keep_alive { b"\x13\x00\x3C" } else { b"" };
        let properties = [&properties.concat(), keep_alive].concat();
        let head = [u8::from(session_present), 0];
        let reply = [connack(head, &properties), behind.clone()].concat();
        let expected = connack(head, &[assigned(&id), properties].concat());
        let (added, reply) = add(&reply, &id, None);
        prop_assert_eq!(added, Some(expected.len()));
        prop_assert_eq!(&reply, &[expected, behind].concat());
        let seen = parse(&reply);
        prop_assert_eq!((Some(seen.len), seen.malformed), (added, None));
        prop_assert_eq!(seen.assigned_client_id.map(|span| span.of(&reply)), Some(&id[..]));
    }
}

#[test]
fn the_brokers_own_stays() {
    // Alone, and behind properties that do not conform.
    for before in [&b""[..], b"\x24\x02", b"\x22\x00\x0A\x22\x00\x0A", b"\x21\x00\x00"] {
        let properties = [before, &assigned("own")].concat();
        let reply = [&connack([0, 0], &properties)[..], PIPELINED].concat();
        assert_eq!(add(&reply, ID, None), (None, reply));
    }
}

#[test]
fn connacks_that_do_not_conform() {
    // Added before an unknown property, and where there is no property length.
    let reply = connack([0, 0], b"\x7F\x01");
    let expected = connack([0, 0], &[&assigned(ID)[..], b"\x7F\x01"].concat());
    assert_eq!(add(&reply, ID, None), (Some(expected.len()), expected));
    let expected = connack([0, 0], &assigned(ID));
    assert_eq!(add(b"\x20\x02\x00\x00", ID, None), (Some(expected.len()), expected));
    // A property length that runs past the end.
    let reply = b"\x20\x03\x00\x00\x05".to_vec();
    assert_eq!(add(&reply, ID, None), (None, reply));
}

#[test]
fn limits() {
    let reply = connack([0, 0], b"");
    let len = connack([0, 0], &assigned(ID)).len();
    assert_eq!(add(&reply, ID, Some(len as u32)).0, Some(len));
    assert_eq!(add(&reply, ID, Some(len as u32 - 1)), (None, reply.clone()));
    assert!(add(&reply, &"x".repeat(65_535), None).0.is_some());
    assert_eq!(add(&reply, &"x".repeat(65_536), None), (None, reply.clone()));
    // Less than a packet: nothing to change.
    let mut short = reply[..4].to_vec();
    assert_eq!(add_assigned_client_id(&mut short, reply.len(), ID, None), None);
    assert_eq!(short, &reply[..4]);
}
