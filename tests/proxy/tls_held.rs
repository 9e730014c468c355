//! What TLS makes the proxy hold for a client is bounded.

use std::io::{ErrorKind, Write};

use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
};

use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    harness::{end, rejects},
    tls_client::Pki,
};

/// A client's keys, with which it can make records that no library would.
struct Keys {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Keys {
    fn of(client: ClientConnection) -> Self {
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("not TLS 1.3")
        };
        let (number, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            panic!("another cipher")
        };
        let mut keys = Self { encrypter: suite.aead_alg.encrypter(key, iv), number: 0 };
        // The provider wants to have seen all numbers from 0 on.
        (0..number).for_each(|_| drop(keys.record(b"")));
        keys
    }

    /// A part of a handshake message.
    fn record(&mut self, payload: &[u8]) -> Vec<u8> {
        let (typ, version) = (ContentType::Handshake, ProtocolVersion::TLSv1_3);
        let payload = OutboundChunks::Single(payload);
        self.number += 1;
        let plain = OutboundPlainMessage { typ, version, payload };
        self.encrypter.encrypt(plain, self.number - 1).unwrap().encode()
    }
}

/// `limits.connect_packet` is what an unknown client can have the proxy hold, header by header.
#[test]
fn a_hello_in_records_of_one_byte() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let limits = "limits: { connect_packet: 20KiB }";
    let proxy = Config::of([&broker]).listener(&pki.tls("")).more(limits).start();
    let hello = [&[1, 0, 0xC3, 0x50][..], &vec![7; 50_000]].concat();
    let records: Vec<u8> = hello.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let mut client = Client::open(proxy.address());
    // The rest of it meets a proxy that has closed.
    let _ = client.stream.write_all(&records[..24_000]);
    let mut alert = [0; 7];
    std::io::Read::read_exact(&mut client.stream, &mut alert).unwrap();
    assert_eq!(alert, *b"\x15\x03\x03\x00\x02\x02\x32");
    let line = rejects(&proxy, 1).pop().unwrap();
    assert_eq!(end(&line), "proxy/handshake/malformed");
    let detail = "a TLS handshake message that takes more than 20480 bytes with its records";
    assert_eq!(line["detail"], detail);
}

/// So is what a session can, where a message has no end.
#[test]
fn a_key_update_in_records_of_one_byte() {
    let (pki, broker) = (Pki::new(), Broker::echoing());
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let mut good = pki.client().open(proxy.address()).session("good");
    let client = pki.client().open(proxy.address()).session("bad").stream;
    let (mut keys, mut socket) = (Keys::of(client.conn), client.sock);
    let message = [&[24, 0, 0x9C, 0x40][..], &vec![0; 40_000]].concat();
    let mut taken = 0;
    for byte in &message {
        let record = keys.record(&[*byte]);
        match socket.write_all(&record) {
            Ok(()) => taken += record.len(),
            Err(error) => {
                let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                assert!(gone.contains(&error.kind()), "{error}");
                break;
            }
        }
    }
    assert!(taken >= 36_874, "{taken} bytes");
    let line = proxy.wait_end("bad");
    assert_eq!(end(&line), "proxy/relay/malformed");
    let detail = "a TLS handshake message that takes more than 36874 bytes with its records";
    assert_eq!(line["detail"], detail);
    good.echo(b"\xC0\x00");
}
