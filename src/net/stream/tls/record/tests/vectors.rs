//! Known answers: RFC 8448, section 3.

use std::rc::Rc;

use rustls::Side;

use super::read;
use crate::{
    net::{
        buffer::Buffer,
        stream::tls::{
            record::{
                RecordLayer, TlsWrite,
                budgets::Budgets,
                layer::Sending,
                protection::{Cipher, Protection},
                traffic_key::TrafficKey,
            },
            records::ReadRecords,
        },
    },
    tls::TlsVersion,
};

const CLIENT_SECRET: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const SERVER_SECRET: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
const CLIENT_KEY: &str = "17422dda596ed5d9acd890e3c63f5051";
const CLIENT_IV: &str = "5b78923dee08579033e523d9";
const SERVER_KEY: &str = "9f02283b6c9c07efc26bb9f2ac92e356";
const SERVER_IV: &str = "cf782b88dd83549aadf1e984";

/// Each side sends the bytes 0 to 49, then close_notify.
const CLIENT_RECORDS: [&str; 2] = [
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e\
     2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
    "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
];
const SERVER_RECORDS: [&str; 2] = [
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59\
     a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
    "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
];

/// The server has sent a ticket, with number 0.
const FIRST_OF_SERVER: u64 = 1;

const PROTECTION: Protection = Protection { version: TlsVersion::Tls13, cipher: Cipher::Aes128Gcm };

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(secret: &str, next: u64) -> TrafficKey {
    TrafficKey::derived(PROTECTION.cipher, &bytes(secret), next).unwrap()
}

fn layer(side: Side) -> RecordLayer {
    let (client, server) = (key(CLIENT_SECRET, 0), key(SERVER_SECRET, FIRST_OF_SERVER));
    let (sender, receiver) = match side {
        Side::Client => (client, server),
        Side::Server => (server, client),
    };
    RecordLayer {
        keys: Rc::default(),
        protection: PROTECTION,
        side,
        sender,
        receiver,
        key_limit: (1_u64 << 24).into(),
        max_plaintext_bytes: 1 << 14,
        budgets: Budgets::default(),
        fragment: None,
        tickets: None,
        owes_key_update: false,
        peer_has_closed: false,
        sending: Sending::All,
    }
}

#[test]
fn keys_and_ivs() {
    for (secret, expected_key, expected_iv) in
        [(CLIENT_SECRET, CLIENT_KEY, CLIENT_IV), (SERVER_SECRET, SERVER_KEY, SERVER_IV)]
    {
        let derived = key(secret, 0);
        let (key, iv) = derived.key_and_iv(PROTECTION.cipher);
        assert_eq!((key, &iv[..]), (&bytes(expected_key)[..], &bytes(expected_iv)[..]));
    }
}

#[test]
fn records() {
    let data: Vec<u8> = (0..50).collect();
    for (side, sent, received) in [
        (Side::Client, CLIENT_RECORDS, SERVER_RECORDS),
        (Side::Server, SERVER_RECORDS, CLIENT_RECORDS),
    ] {
        let mut layer = layer(side);
        for (write, expected) in [TlsWrite::Data(&data), TlsWrite::CloseNotify].iter().zip(sent) {
            let mut outbox = Buffer::default();
            layer.write(*write, &mut outbox).unwrap();
            assert_eq!(outbox.bytes(), bytes(expected));
        }
        let mut wire = received.map(bytes).concat();
        assert_eq!(read(&mut layer, &mut wire).unwrap().0, data);
        assert!(layer.peer_has_closed());
    }
}
