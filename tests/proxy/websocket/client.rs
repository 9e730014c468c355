//! A WebSocket client that makes its frames by hand, so that it can make bad ones.

use std::{io::Read, net::SocketAddr};

use crate::client::{CONNACK_V3, Client, connect};

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
pub(crate) const FIN: u8 = 0x80;

/// The key and the answer to it are those of RFC 6455, section 1.3.
pub(crate) const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

pub(crate) const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
     Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// [`REQUEST`] with more headers, each with its line's end.
pub(crate) fn request_with(headers: &str) -> String {
    REQUEST.replace("\r\n\r\n", &format!("\r\n{headers}\r\n"))
}

/// A client's frame; `first` is its first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 0x7E);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 0x7F);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A whole message.
pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

/// A Close with a status.
pub(crate) fn close(status: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &status.to_be_bytes())
}

/// One connection whose upgrade has been granted.
pub(crate) struct WsClient {
    pub(crate) tcp: Client,
}

impl WsClient {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self { tcp: Client::exchange(address, REQUEST.as_bytes(), SWITCHED.as_bytes()) }
    }

    /// Opens a session of 3.1.1.
    pub(crate) fn session(address: SocketAddr, id: &str) -> Self {
        let mut client = Self::open(address);
        client.send(&connect(4, id));
        client.expect(CONNACK_V3);
        client
    }

    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.tcp.send(&binary(payload));
    }

    /// The next frame's first byte and payload.
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let mut read = |len| {
            let mut bytes = vec![0; len];
            self.tcp.stream.read_exact(&mut bytes).unwrap();
            bytes
        };
        let head = read(2);
        // A server's frames have no mask, and none of ours is longer.
        let len = match head[1] {
            len @ ..126 => usize::from(len),
            126 => usize::from(u16::from_be_bytes(read(2).try_into().unwrap())),
            second => panic!("a frame with the second byte {second:#x}"),
        };
        (head[0], read(len))
    }

    /// Expects bytes, in any number of binary messages.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: &[u8]) {
        let mut read = Vec::new();
        while read.len() < wanted.len() {
            let (first, payload) = self.read_frame();
            assert_eq!(first, FIN | BINARY);
            read.extend(payload);
        }
        assert!(read == wanted, "{} bytes differ", read.len());
    }

    #[track_caller]
    pub(crate) fn echo(&mut self, payload: &[u8]) {
        self.send(payload);
        self.expect(payload);
    }

    /// Expects a Close with this status, and the end of the stream behind it.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, status: u16) {
        assert_eq!(self.read_frame(), (FIN | CLOSE, status.to_be_bytes().to_vec()));
        self.tcp.expect_end();
    }
}
