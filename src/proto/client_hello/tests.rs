use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs::default_provider,
    pki_types::ServerName,
};

use super::*;

/// A ClientHello message: TLS 1.2 on the outside, these extensions.
fn message(extensions: Option<&[(u16, &[u8])]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 4, 0x0A, 0x0A, 0x13, 0x01]);
    body.extend([1, 0]);
    if let Some(extensions) = extensions {
        let mut list = Vec::new();
        for (kind, content) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend((content.len() as u16).to_be_bytes());
            list.extend(*content);
        }
        body.extend((list.len() as u16).to_be_bytes());
        body.extend(list);
    }
    let len = (body.len() as u32).to_be_bytes();
    [&[CLIENT_HELLO, len[1], len[2], len[3]], &body[..]].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    let len = name.len() as u16;
    [&(len + 3).to_be_bytes()[..], &[0], &len.to_be_bytes(), name].concat()
}

/// Records of `size` bytes each.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    message.chunks(size).flat_map(record).collect()
}

/// The result of all bytes at once, which must be that of each byte by itself.
#[track_caller]
fn read(wire: &[u8]) -> Result<Option<ClientHello>, InvalidClientHello> {
    let whole = ClientHelloReader::default().read(wire);
    let mut reader = ClientHelloReader::default();
    let mut steps = wire.iter().map(|byte| reader.read(&[*byte]));
    let bytewise = steps.find(|step| !matches!(step, Ok(None))).unwrap_or(Ok(None));
    assert_eq!(whole, bytewise);
    whole
}

fn name_of(wire: &[u8]) -> Option<Box<str>> {
    read(wire).unwrap().expect("complete").server_name
}

#[test]
fn the_server_name() {
    // GREASE (RFC 8701) and unknown extensions before and after it.
    let name = named(b"Eu.Example");
    let hello = message(Some(&[(0x2A2A, b""), (0, &name), (0xFE0D, &[1; 200]), (0x6A6A, b"\0")]));
    for size in [hello.len(), 64, 17, 11] {
        assert_eq!(name_of(&records(&hello, size)).as_deref(), Some("eu.example"), "{size}");
    }
    let wire = records(&hello, hello.len());
    for len in 0..wire.len() {
        assert_eq!(read(&wire[..len]), Ok(None), "{len}");
    }
    // What follows belongs to the next message.
    assert_eq!(
        name_of(&[&wire[..], b"\x17\x03\x03\x00\x01x"].concat()).as_deref(),
        Some("eu.example")
    );
}

#[test]
fn no_usable_server_name() {
    assert_eq!(name_of(&records(&message(None), 100)), None, "no extensions, as before TLS 1.3");
    assert_eq!(name_of(&records(&message(Some(&[])), 100)), None);
    let odd: [&[u8]; 8] =
        [b"", b"a b", b"a\0b", b"\xFF\xFE", b"192.0.2.1", b"[::1]", b"a..b", &[b'a'; 300]];
    for name in odd {
        let hello = message(Some(&[(0, &named(name))]));
        assert_eq!(name_of(&records(&hello, 1000)), None, "{name:?}");
    }
    for content in [&b""[..], b"\0", b"\0\x05\0\0\x09abc", b"\0\x04\x01\0\x01a"] {
        let hello = message(Some(&[(0, content)]));
        assert_eq!(name_of(&records(&hello, 1000)), None, "{content:?}");
    }
    let dotted = message(Some(&[(0, &named(b"eu.example."))]));
    assert_eq!(name_of(&records(&dotted, 1000)).as_deref(), Some("eu.example"));
}

/// What rustls refuses comes with its message, to be read again without it.
#[test]
fn names_that_are_ignored() {
    for (name, ignored, is_refused) in [
        (&b"broker.example.com:8883"[..], "broker.example.com:8883", true),
        (b"mqtts://broker.example.com", "mqtts://broker.example.com", true),
        (b"[::1]", "[::1]", true),
        (b"a\nb\0", "a\u{fffd}b\u{fffd}", true),
        (b"\xFF", "\u{fffd}", true),
        (&[b'a'; 300], &"a".repeat(255), true),
        (b"192.0.2.1", "192.0.2.1", false),
        (b"2001:db8::1", "2001:db8::1", false),
    ] {
        let message = message(Some(&[(0x2A2A, b""), (0, &named(name)), (45, b"\x01\x01")]));
        for size in [20, 100, 1000] {
            let wire = records(&message, size);
            let hello = read(&wire).unwrap().unwrap();
            assert_eq!((hello.server_name, hello.ignored_name.as_deref()), (None, Some(ignored)));
            assert_eq!(hello.refused, is_refused.then(|| message.clone()), "{size}");
            // With bytes behind it, it cannot be read again alone.
            let more = ClientHelloReader::default().read(&[&wire[..], b"\x16"].concat());
            assert_eq!(more.unwrap().unwrap().refused, None);
        }
    }
    // Two names are an error of rustls.
    let two = message(Some(&[(0, b"\0\x08\0\0\x01:\0\0\x01:")]));
    let hello = read(&records(&two, 1000)).unwrap().unwrap();
    assert_eq!((hello.ignored_name, hello.refused), (None, None));
}

#[test]
fn other_protocols() {
    assert_eq!(read(b"\x10\x0D\x00\x04MQTT"), Err(InvalidClientHello::NotTls(0x10)));
    assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(InvalidClientHello::NotTls(b'G')));
    // SSL 2.0.
    assert_eq!(read(b"\x80\x2E\x01\x03\x01"), Err(InvalidClientHello::NotTls(0x80)));
    assert_eq!(read(b"\x16\x02"), Err(InvalidClientHello::RecordVersion(2)));
    assert_eq!(read(b"\x16\x03\x01\x00\x04\x02"), Err(InvalidClientHello::OtherMessage(2)));
    let hello = records(&message(None), 20);
    let interrupted = [&hello[..25], b"\x15\x03\x01\x00\x02\x01\x00"].concat();
    assert_eq!(read(&interrupted), Err(InvalidClientHello::Interrupted(0x15)));
}

#[test]
fn limits() {
    let sized = |len: usize| message(Some(&[(0xFDE8, &vec![0; len][..])]));
    let overhead = sized(0).len();
    let largest = sized(MAX_MESSAGE_BYTES - overhead);
    assert_eq!(largest.len(), MAX_MESSAGE_BYTES);
    assert_eq!(name_of(&records(&largest, MAX_MESSAGE_BYTES)), None);
    let too_long = sized(MAX_MESSAGE_BYTES - overhead + 1);
    let refused = Err(InvalidClientHello::TooLong(MAX_MESSAGE_BYTES + 1));
    assert_eq!(read(&records(&too_long, 1 << 13)), refused);
    assert_eq!(
        read(b"\x16\x03\x01\x40\x00\x01\xFF\xFF\xFF"),
        Err(InvalidClientHello::TooLong(0x0100_0003))
    );
    // The most records, and one more.
    let in_32 = records(&largest, MAX_MESSAGE_BYTES / MAX_RECORDS);
    assert_eq!(name_of(&in_32), None);
    assert!(in_32.len() < MAX_CLIENT_HELLO_BYTES);
    let in_33 = records(&largest, MAX_MESSAGE_BYTES / MAX_RECORDS - 1);
    assert_eq!(read(&in_33), Err(InvalidClientHello::TooManyRecords));
    assert_eq!(read(b"\x16\x03\x01\x00\x00"), Err(InvalidClientHello::EmptyRecord));
    assert_eq!(
        read(b"\x16\x03\x01\x40\x01\x01"),
        Err(InvalidClientHello::RecordTooLong(MAX_MESSAGE_BYTES + 1))
    );
}

#[test]
fn fields_that_exceed_the_body() {
    let hello = message(Some(&[(0, &named(b"eu.example"))]));
    for cut in 1..hello.len() - MESSAGE_HEADER_BYTES {
        let mut short = hello[..hello.len() - cut].to_vec();
        let len = short.len() - MESSAGE_HEADER_BYTES;
        short[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let read = read(&records(&short, 1000));
        // Without any extensions, the body is whole.
        let is_whole = len == message(None).len() - MESSAGE_HEADER_BYTES;
        let none = Ok(Some(ClientHello::default()));
        assert_eq!(read, if is_whole { none } else { Err(InvalidClientHello::Fields) }, "{len}");
    }
}

/// After a result, nothing more is read or kept.
#[test]
fn a_finished_reader_ignores_the_rest() {
    let mut reader = ClientHelloReader::default();
    assert!(reader.read(b"\x10").is_err());
    assert_eq!(reader.read(&records(&message(None), 100)), Ok(None));
    assert_eq!(reader.message.capacity(), 0);
}

/// The first flight of rustls.
fn of_rustls(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    connection.write_tls(&mut wire).unwrap();
    wire
}

#[test]
fn a_real_client() {
    let wire = of_rustls("Device.Example.COM");
    assert_eq!(name_of(&wire).as_deref(), Some("device.example.com"));
    assert_eq!(name_of(&of_rustls("127.0.0.1")), None);
    for size in [60, 100, wire.len() - 6] {
        let name = name_of(&records(&wire[RECORD_HEADER_BYTES..], size));
        assert_eq!(name.as_deref(), Some("device.example.com"), "{size}");
    }
}

/// The reader does not panic, whichever byte is changed.
#[test]
fn changed_bytes() {
    let wire = of_rustls("device.example.com");
    for at in 0..wire.len() {
        for value in [0, 1, 0x7F, 0xFF, wire[at] ^ 1] {
            let mut changed = wire.clone();
            changed[at] = value;
            let _ = ClientHelloReader::default().read(&changed);
        }
    }
}

#[test]
fn who_prefers_chacha20() {
    let hello = |suites: &[u8]| {
        let len = [0, suites.len() as u8];
        let body = [&[3, 3][..], &[7; 32], &[0], &len, suites, &[1, 0]].concat();
        let message = [&[CLIENT_HELLO, 0, 0, body.len() as u8], &body[..]].concat();
        read(&records(&message, 500)).unwrap().unwrap().prefers_chacha20
    };
    assert!(hello(&[0x13, 0x03, 0x13, 0x01]));
    assert!(hello(&[0xCC, 0xA9, 0xC0, 0x2B]));
    // GREASE is not a suite; 0x0A1A is not GREASE.
    assert!(hello(&[0x1A, 0x1A, 0x13, 0x03]));
    assert!(!hello(&[0x0A, 0x1A, 0x13, 0x03]));
    assert!(!hello(&[0x13, 0x01, 0x13, 0x03]));
    assert!(!hello(&[]));
    assert!(!hello(&[0x1A, 0x1A]));
    assert!(!hello(&[0x13]));
}
