use super::{addresses, read};
use crate::proto::{
    CertificateFacts, TlsFacts,
    proxy_header::{
        Header, HeaderError, HeaderProgress, MAX_HEADER_BYTES, V2_LOCAL, parse, write_v2,
    },
};

const SIGNATURE: &[u8] = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A";
/// 192.0.2.1:56324 to 198.51.100.2:1883.
const IPV4: &[u8] = b"\xC0\x00\x02\x01\xC6\x33\x64\x02\xDC\x04\x07\x5B";

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

fn with_tlvs(tlvs: &[&[u8]]) -> Result<Header, HeaderError> {
    read(&header(0x21, 0x11, &[IPV4, &tlvs.concat()].concat()))
}

fn ssl(client: u8, verify: u32, tlvs: &[&[u8]]) -> Vec<u8> {
    tlv(0x20, &[&[client], &verify.to_be_bytes()[..], &tlvs.concat()].concat())
}

#[test]
fn addresses_by_family() {
    let v4 = addresses("192.0.2.1:56324", "198.51.100.2:1883");
    assert_eq!(read(&header(0x21, 0x11, IPV4)).unwrap().addresses, Some(v4));
    let v6 = b"\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x01\
               \x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x02\xDC\x04\x07\x5B";
    let of_v6 = addresses("[2001:db8::1]:56324", "[2001:db8::2]:1883");
    assert_eq!(read(&header(0x21, 0x21, v6)).unwrap().addresses, Some(of_v6));
    let mapped = b"\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC0\x00\x02\x01\
                   \0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC6\x33\x64\x02\xDC\x04\x07\x5B";
    assert_eq!(read(&header(0x21, 0x21, mapped)).unwrap().addresses, Some(v4));
    // Not a TCP client: only the socket's peer is known.
    let unix = [[b'/'; 108], [0; 108]].concat();
    for (family, block) in [
        (0x00, &b""[..]),
        (0x01, b""),
        (0x10, IPV4),
        (0x12, IPV4),
        (0x22, v6),
        (0x31, &unix),
        (0x32, &unix),
    ] {
        let id = [block, &tlv(5, b"id")].concat();
        let wanted = Header { unique_id: Some(b"id"[..].into()), ..Header::default() };
        assert_eq!(read(&header(0x21, family, &id)), Ok(wanted), "{family:#04x}");
        if let [_, short @ ..] = block {
            let short = read(&header(0x21, family, short));
            assert_eq!(short, Err(HeaderError::NoRoomForAddresses), "{family:#04x}");
        }
    }
    for family in [0x03, 0x13, 0x1F, 0x41, 0xF1] {
        let bytes = header(0x21, family, &unix);
        assert_eq!(read(&bytes), Err(HeaderError::Family(family)));
    }
}

#[test]
fn commands() {
    // Everything after LOCAL is discarded, even if it is invalid.
    for rest in [&b""[..], IPV4, b"\x20\xFF"] {
        for family in [0x00, 0x11, 0xFF] {
            assert_eq!(read(&header(0x20, family, rest)), Ok(Header::default()));
        }
    }
    assert_eq!(read(V2_LOCAL), Ok(Header::default()));
    for command in [0x00, 0x11, 0x22, 0x2F, 0x31] {
        assert_eq!(read(&header(command, 0x11, IPV4)), Err(HeaderError::Command(command)));
    }
}

/// A header over the limit is refused by its length, without waiting for the rest.
#[test]
fn the_length_is_bounded() {
    let filled = |len: usize| {
        let tlv = tlv(0x04, &vec![0; len - 16 - IPV4.len() - 3]);
        header(0x21, 0x11, &[IPV4, &tlv].concat())
    };
    let longest = filled(MAX_HEADER_BYTES);
    assert_eq!(longest.len(), MAX_HEADER_BYTES);
    assert!(read(&longest).is_ok());
    let over = filled(MAX_HEADER_BYTES + 1);
    assert_eq!(parse(&over[..15]), Ok(HeaderProgress::Incomplete));
    let len = MAX_HEADER_BYTES + 1;
    assert_eq!(parse(&over[..16]), Err(HeaderError::TooLong { len }));
    let most = [SIGNATURE, b"\x20\x00\xFF\xFF"].concat();
    assert_eq!(parse(&most), Err(HeaderError::TooLong { len: 65_551 }));
}

#[test]
fn tlvs_that_are_known() {
    let said = with_tlvs(&[
        &tlv(0x04, b""),
        &tlv(0x01, b"mqtt"),
        &tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"),
        &tlv(0x02, b"broker.example"),
        &tlv(0x05, &[7; 128]),
        &ssl(
            0x07,
            0,
            &[
                &tlv(0x21, b"TLSv1.3"),
                &tlv(0x22, "küche".as_bytes()),
                &tlv(0x24, b"RSA-SHA256"),
                &tlv(0x23, b"TLS_AES_128_GCM_SHA256"),
            ],
        ),
        &tlv(0x30, b"blue"),
    ]);
    let tls = TlsFacts {
        version: Some("TLSv1.3".into()),
        cipher: Some("TLS_AES_128_GCM_SHA256".into()),
        sni: Some("broker.example".into()),
        ignored_sni: None,
        certificate: Some(Box::new(named("küche"))),
        alpn: Some(b"mqtt"[..].into()),
    };
    let wanted = Header {
        addresses: Some(addresses("192.0.2.1:56324", "198.51.100.2:1883")),
        tls: Some(tls),
        unique_id: Some([7; 128].into()),
    };
    assert_eq!(said, Ok(wanted));
    // No facts about TLS.
    for tlvs in [tlv(0x01, b""), tlv(0x02, b""), ssl(0, 0, &[&tlv(0x21, b"x")]), tlv(0x04, b"x")] {
        assert_eq!(with_tlvs(&[&tlvs]).unwrap().tls, None);
    }
}

/// A name counts only if a certificate was presented and verified.
#[test]
fn common_names_are_those_of_verified_certificates() {
    let name = tlv(0x22, b"device-7");
    for (client, verify, counts) in [
        (0x07, 0, true),
        (0x03, 0, true),
        (0x05, 0, true),
        (0x01, 0, false),
        (0x07, 1, false),
        (0x07, 0x0100_0000, false),
        (0x06, 0, false),
    ] {
        let said = with_tlvs(&[&ssl(client, verify, &[&tlv(0x21, b"TLSv1.2"), &name])]).unwrap();
        let common_name = said.tls.and_then(|tls| tls.common_name().map(str::to_owned));
        assert_eq!(common_name.is_some(), counts, "{client:#04x} {verify}");
    }
}

#[test]
fn what_is_wrong_with_tlvs() {
    let cases: [(Vec<u8>, HeaderError); 16] = [
        (b"\x04".to_vec(), HeaderError::Truncated),
        (b"\x04\x00".to_vec(), HeaderError::Truncated),
        (b"\x04\x00\x01".to_vec(), HeaderError::Truncated),
        (b"\xEE\xFF\xFFx".to_vec(), HeaderError::Truncated),
        (tlv(0x02, b"\xC3\x28"), HeaderError::Utf8(0x02)),
        (tlv(0x05, &[0; 129]), HeaderError::Length(0x05)),
        (tlv(0x03, b""), HeaderError::Length(0x03)),
        (tlv(0x03, &[0; 5]), HeaderError::Length(0x03)),
        (tlv(0x03, &[0; 4]), HeaderError::Checksum),
        (tlv(0x20, &[0; 4]), HeaderError::Length(0x20)),
        (tlv(0x20, b"\x01\0\0\0\0\x21\x00"), HeaderError::Truncated),
        (tlv(0x20, b"\x01\0\0\0\0\x21\x00\x02x"), HeaderError::Truncated),
        (ssl(7, 0, &[&tlv(0x22, b"\xFF")]), HeaderError::Utf8(0x22)),
        (ssl(7, 0, &[&tlv(0x22, b"a"), &tlv(0x22, b"b")]), HeaderError::Duplicate(0x22)),
        ([tlv(0x02, b"a"), tlv(0x02, b"b")].concat(), HeaderError::Duplicate(0x02)),
        ([ssl(1, 0, &[]), ssl(7, 0, &[])].concat(), HeaderError::Duplicate(0x20)),
    ];
    for (tlvs, wrong) in cases {
        assert_eq!(with_tlvs(&[&tlvs]), Err(wrong), "{}", tlvs.escape_ascii());
    }
}

/// No flipped bit in a header with a checksum makes it name another client.
#[test]
fn every_damage_is_noticed() {
    let good = write_v2(
        Some(addresses("192.0.2.1:56324", "198.51.100.2:1883")),
        Some(&TlsFacts { certificate: Some(Box::new(named("device-7"))), ..TlsFacts::default() }),
        b"0123456789abcdef",
        [],
    );
    let said = read(&good).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match parse(&bad) {
            // The command became LOCAL, or the checksum's type changed and the rest is unchanged,
            // or the length grew.
            Ok(HeaderProgress::Complete { header, .. }) if header == Header::default() => {}
            Ok(HeaderProgress::Complete { header, .. }) => {
                let name_of =
                    |header: &Header| header.tls.as_ref()?.common_name().map(str::to_owned);
                assert_eq!(header.addresses, said.addresses);
                assert_eq!(name_of(&header), name_of(&said));
            }
            Ok(HeaderProgress::Incomplete) => assert!((14..16).contains(&(bit / 8)), "bit {bit}"),
            Err(_) => {}
        }
    }
}

/// The checksum comes from another implementation of CRC-32C.
#[test]
fn what_is_written() {
    let tls = TlsFacts {
        version: Some("TLSv1.3".into()),
        cipher: Some("TLS13_AES_128_GCM_SHA256".into()),
        sni: Some("broker.example".into()),
        ignored_sni: None,
        certificate: Some(Box::new(named("device-7"))),
        alpn: Some(b"mqtt"[..].into()),
    };
    let from_to = addresses("192.0.2.1:56324", "198.51.100.2:1883");
    let said = [
        tlv(0x01, b"mqtt"),
        tlv(0x02, b"broker.example"),
        tlv(0x05, b"eed5000000000000"),
        ssl(
            0x07,
            0,
            &[
                &tlv(0x21, b"TLSv1.3"),
                &tlv(0x22, b"device-7"),
                &tlv(0x23, b"TLS13_AES_128_GCM_SHA256"),
            ],
        ),
    ]
    .concat();
    let written = write_v2(Some(from_to), Some(&tls), b"eed5000000000000", []);
    let (rest, sum) = written.split_at(written.len() - 4);
    let len = IPV4.len() + said.len() + 7;
    let fixed = [SIGNATURE, b"\x21\x11", &(len as u16).to_be_bytes()].concat();
    assert_eq!(rest, [&fixed, IPV4, &said, b"\x03\x00\x04"].concat());
    assert_eq!(sum, crc(&[rest, &[0; 4]].concat()).to_be_bytes());
    let header = Header {
        addresses: Some(from_to),
        tls: Some(tls),
        unique_id: Some(b"eed5000000000000"[..].into()),
    };
    assert_eq!(read(&written), Ok(header));

    let nobody = write_v2(None, None, b"", []);
    assert_eq!(nobody[..19], [SIGNATURE, b"\x21\x00\x00\x07\x03\x00\x04"].concat());
    assert_eq!(read(&nobody), Ok(Header::default()));
    let mixed = addresses("192.0.2.1:1", "[2001:db8::2]:2");
    let written = write_v2(Some(mixed), None, b"", []);
    assert_eq!(written[12..16], *b"\x21\x21\x00\x2B");
    assert_eq!(written[16..32], *b"\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC0\x00\x02\x01");
    assert_eq!(read(&written).unwrap().addresses, Some(mixed));
}

#[test]
fn a_certificate_that_nobody_verified_is_not_said_to_be() {
    let tls = TlsFacts { version: Some("TLSv1.2".into()), ..TlsFacts::default() };
    let written = write_v2(None, Some(&tls), b"", []);
    let said = ssl(0x01, 1, &[&tlv(0x21, b"TLSv1.2")]);
    assert_eq!(written[16..16 + said.len()], said);
    // A verified certificate need not have a name.
    let tls = TlsFacts { certificate: Some(Box::new(unnamed())), ..tls };
    let written = write_v2(None, Some(&tls), b"", []);
    let said = ssl(0x07, 0, &[&tlv(0x21, b"TLSv1.2")]);
    assert_eq!(written[16..16 + said.len()], said);
    assert_eq!(read(&written).unwrap().tls, Some(tls));
    // A server name alone does not prove that there is a TLS connection.
    let tls = TlsFacts { sni: Some("a.example".into()), ..TlsFacts::default() };
    let written = write_v2(None, Some(&tls), b"", []);
    assert_eq!(written[16..28], tlv(0x02, b"a.example"));
    assert_eq!(written[28..31], *b"\x03\x00\x04");
}

/// No fact, however long, makes receivers refuse the header; a name is sent whole or not at all.
#[test]
fn what_is_written_is_bounded() {
    let huge = "x".repeat(70_000);
    let tls = TlsFacts {
        version: Some(huge.clone().into()),
        cipher: Some("y".repeat(255).into()),
        sni: Some("s".repeat(255).into()),
        ignored_sni: None,
        certificate: Some(Box::new(named(&huge[..256]))),
        alpn: Some(huge.as_bytes().into()),
    };
    let written = write_v2(None, Some(&tls), &[b'u'; 129], []);
    let said = read(&written).unwrap();
    let kept = TlsFacts {
        cipher: tls.cipher,
        sni: tls.sni,
        ignored_sni: None,
        certificate: Some(Box::new(unnamed())),
        ..TlsFacts::default()
    };
    assert_eq!(said.tls, Some(kept));
    assert_eq!(said.unique_id.unwrap().len(), 128);
}

/// EMQX refuses a common name with a control character, and so would count it as the broker's fault.
#[test]
fn common_names_have_no_control_characters() {
    for name in ["a\0", "a\nb", "\u{7f}", "\u{85}"] {
        let tls = TlsFacts { certificate: Some(Box::new(named(name))), ..TlsFacts::default() };
        let written = write_v2(None, Some(&tls), b"", []);
        assert!(!written.windows(name.len()).any(|part| part == name.as_bytes()), "{name:?}");
        let wanted =
            Some(TlsFacts { certificate: Some(Box::new(unnamed())), ..TlsFacts::default() });
        assert_eq!(read(&written).unwrap().tls, wanted);
        let said = with_tlvs(&[&ssl(7, 0, &[&tlv(0x22, name.as_bytes())])]).unwrap();
        assert_eq!(said.tls, wanted, "{name:?}");
    }
}

/// A verified certificate with this common name.
fn named(name: &str) -> CertificateFacts {
    let common_name = Some(name.into());
    CertificateFacts { common_name, ..CertificateFacts::default() }
}

/// A verified certificate without a common name.
fn unnamed() -> CertificateFacts {
    CertificateFacts::default()
}

/// CRC-32C (RFC 4960, appendix B), computed bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0x82F6_3B78 } else { sum >> 1 }
        })
    })
}
