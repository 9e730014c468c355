use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs::default_provider,
    pki_types::ServerName,
};

use super::{TlsLayer, client_hello::ServerNameReader};

/// Bounds the size in bytes of an idle connection without its keys, so that it does not grow
/// unnoticed.
#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<TlsLayer>() <= 1536, "{} bytes", size_of::<TlsLayer>());
}

/// The server name in a client's records, which arrive in pieces of `size` bytes.
fn server_name_in(wire: &[u8], size: usize) -> Option<Box<str>> {
    let mut reader = ServerNameReader::default();
    wire.chunks(size).for_each(|piece| reader.read(piece));
    reader.finish()
}

fn server_name(wire: &[u8]) -> Option<Box<str>> {
    server_name_in(wire, 1 << 16)
}

/// A client's first flight.
fn hello(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn server_name_is_read() {
    assert_eq!(server_name(&hello("Device.Example.COM")).as_deref(), Some("device.example.com"));
    assert_eq!(server_name(&hello("127.0.0.1")), None);
    assert_eq!(server_name(b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x3C\x00\x00"), None);
}

#[test]
fn incomplete_hello_has_no_server_name() {
    let hello = hello("device.example.com");
    for len in 0..hello.len() {
        assert_eq!(server_name(&hello[..len]), None, "{len} bytes");
    }
}

/// A handshake message may be cut into records anywhere (RFC 8446, section 5.1).
#[test]
fn hello_split_into_records() {
    let hello = hello("device.example.com");
    let (header, message) = hello.split_at(5);
    for size in [60, 100, message.len() - 1] {
        let mut records = Vec::new();
        for part in message.chunks(size) {
            records.extend_from_slice(&header[..3]);
            records.extend((part.len() as u16).to_be_bytes());
            records.extend_from_slice(part);
        }
        for piece in [1, 7, 4096] {
            let name = server_name_in(&records, piece);
            assert_eq!(name.as_deref(), Some("device.example.com"), "{size}, {piece}");
        }
    }
}

/// This also bounds the memory that the reader uses.
#[test]
fn hello_in_too_many_records() {
    let records: Vec<u8> =
        hello("a.test")[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    assert_eq!(server_name(&records), None);
}

/// The reader does not panic, whichever byte is changed.
#[test]
fn changed_hellos_do_not_panic() {
    let hello = hello("device.example.com");
    for at in 0..hello.len() {
        for value in [0, 1, 0x7F, 0xFF, hello[at] ^ 1] {
            let mut changed = hello.clone();
            changed[at] = value;
            let _ = server_name(&changed);
        }
    }
}
