//! TLVs that are kept and passed on.

use proptest::prelude::*;

use super::{addresses, read};
use crate::proto::{
    TlsFacts,
    proxy_header::{MAX_HEADER_BYTES, keep_tlvs, write_v1, write_v2},
};

/// TLVs of these types and values that a header has.
fn header(tlvs: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let from_to = addresses("192.0.2.1:56324", "198.51.100.2:1883");
    write_v2(Some(from_to), None, b"", tlvs.iter().map(|(kind, value)| (*kind, &value[..])))
}

fn kept(header: &[u8], types: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    match keep_tlvs(header, types) {
        None => (Vec::new(), 0),
        Some(kept) => {
            let tlvs = kept.iter().map(|(kind, value)| (kind, value.to_vec())).collect();
            (tlvs, kept.omitted())
        }
    }
}

#[test]
fn only_what_is_asked_for() {
    let header = header(&[(0xEA, b"a".to_vec()), (0xE0, b"b".to_vec()), (0x05, b"id".to_vec())]);
    assert!(keep_tlvs(&header, &[]).is_none());
    assert!(keep_tlvs(&header, &[0xEB]).is_none());
    assert_eq!(kept(&header, &[0xE0]).0, [(0xE0, b"b".to_vec())]);
    assert_eq!(kept(&header, &[0x05, 0xEA]).0, [(0xEA, b"a".to_vec()), (5, b"id".to_vec())]);
    assert!(keep_tlvs(&write_v1(None), &[0xEA]).is_none());
}

proptest! {
    /// What is passed on is read as it was, within the limits, and never makes a header too long.
    #[test]
    fn passed_on_and_read_again(
        tlvs in prop::collection::vec((0xE0..0xF0_u8, prop::collection::vec(any::<u8>(), 0..400)), 0..24),
        types in prop::collection::vec(0xE0..0xF0_u8, 1..8),
    ) {
        let sent = header(&tlvs);
        prop_assert!(sent.len() <= MAX_HEADER_BYTES);
        prop_assert!(read(&sent).is_ok());
        let (kept_tlvs, omitted) = kept(&sent, &types);
        for (at, (kind, value)) in kept_tlvs.iter().enumerate() {
            prop_assert!(types.contains(kind) && value.len() <= 256);
            prop_assert!(kept_tlvs[..at].iter().all(|(other, _)| other != kind));
            prop_assert!(tlvs.contains(&(*kind, value.clone())));
        }
        let asked = tlvs.iter().filter(|(kind, _)| types.contains(kind)).count();
        prop_assert!(kept_tlvs.len() + omitted <= asked);
        prop_assert_eq!(kept(&header(&kept_tlvs), &types), (kept_tlvs, 0));
    }
}

/// The facts of the proxy itself come first; TLVs that do not fit are left out whole.
#[test]
fn a_header_that_is_full() {
    let tls = TlsFacts { sni: Some("s".repeat(255).into()), ..TlsFacts::default() };
    let large: Vec<_> = (0xE0..0xF0_u8).map(|kind| (kind, vec![kind; 256])).collect();
    let passed = large.iter().map(|(kind, value)| (*kind, &value[..]));
    let from_to = addresses("[2001:db8::1]:56324", "[2001:db8::2]:1883");
    let sent = write_v2(Some(from_to), Some(&tls), &[b'u'; 128], passed);
    assert!(sent.len() <= MAX_HEADER_BYTES, "{}", sent.len());
    let said = read(&sent).unwrap();
    assert_eq!((said.tls, said.unique_id.unwrap().len()), (Some(tls), 128));
    let types: Vec<u8> = (0xE0..0xF0).collect();
    let (kept_tlvs, _) = kept(&sent, &types);
    assert_eq!(kept_tlvs, large[..14]);
}
