//! WebSocket of a client (RFC 6455): a frame for every write, and as much of the rest as a proxy's answers need.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
};

use mqtt_lb_bench::sys;

/// The sample nonce of RFC 6455, section 1.3, and the answer that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Unmasking costs the same with any key; this one is the sample of section 5.7.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const MASKED: u8 = 0x80;
/// In place of a length: the length follows in two bytes.
const TWO_BYTES: u8 = 126;
/// The longest answer to an upgrade that is believed.
const MAX_HEAD_BYTES: usize = 4096;

pub struct Connector {
    request: String,
}

pub struct Session {
    /// Still to be sent; empty once it is.
    request: String,
    open: bool,
    /// Received and not looked at.
    inbox: Vec<u8>,
    /// Bytes of the current frame's payload that are still to be handed out.
    payload: usize,
}

impl Connector {
    pub fn new(path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\n\
             Host: localhost\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        Self { request }
    }

    pub fn session(&self) -> Session {
        Session { request: self.request.clone(), open: false, inbox: Vec::new(), payload: 0 }
    }
}

impl Session {
    /// Goes on with the upgrade; tells whether it is complete.
    pub fn open(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        if !self.request.is_empty() {
            write_whole(socket, self.request.as_bytes())?;
            self.request.clear();
        }
        while !self.open {
            if let Some(end) = self.inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
                check_head(&String::from_utf8_lossy(&head))?;
                self.open = true;
            } else if self.inbox.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("an endless answer to the upgrade"));
            } else if !self.receive(socket)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            if self.payload == 0
                && let Some((size, payload)) = frame(&self.inbox)?
            {
                self.inbox.drain(..size);
                self.payload = payload;
            }
            let count = self.payload.min(self.inbox.len()).min(buffer.len());
            if count > 0 {
                buffer[..count].copy_from_slice(&self.inbox[..count]);
                self.inbox.drain(..count);
                self.payload -= count;
                return Ok(Some(count));
            }
            if !self.receive(socket)? {
                return Ok(None);
            }
        }
    }

    /// Sends the bytes as one frame, for which there has to be room.
    pub fn write(&mut self, socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        let mut frame = vec![FINAL | BINARY];
        match u8::try_from(bytes.len()) {
            Ok(length) if length < TWO_BYTES => frame.push(MASKED | length),
            _ => {
                let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
                frame.push(MASKED | TWO_BYTES);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        write_whole(socket, &frame)?;
        Ok(bytes.len())
    }

    /// Takes in what has arrived; tells whether there was anything.
    fn receive(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        let Some(count) = sys::read(socket, &mut buffer)? else { return Ok(false) };
        if count == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the proxy"));
        }
        self.inbox.extend_from_slice(&buffer[..count]);
        Ok(true)
    }
}

fn write_whole(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    if sys::write(socket, bytes)? == Some(bytes.len()) {
        Ok(())
    } else {
        Err(io::Error::other("no room for a small frame"))
    }
}

fn check_head(head: &str) -> io::Result<()> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let accepted = lines.any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("Sec-WebSocket-Accept") && value.trim() == ACCEPT
        })
    });
    if status.starts_with("HTTP/1.1 101 ") && accepted {
        Ok(())
    } else {
        Err(io::Error::other(format!("no upgrade: {status}")))
    }
}

/// Size of the header at the start of `bytes`, and of its payload; `None` while it is incomplete.
fn frame(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let &[first, length, ..] = bytes else { return Ok(None) };
    if !matches!(first & !FINAL, BINARY | CONTINUATION) || length & MASKED != 0 {
        return Err(io::Error::other(format!("a frame that starts with {first:02x} {length:02x}")));
    }
    match length {
        ..TWO_BYTES => Ok(Some((2, usize::from(length)))),
        TWO_BYTES => Ok(bytes
            .get(2..4)
            .map(|length| (4, usize::from(u16::from_be_bytes([length[0], length[1]]))))),
        _ => Err(io::Error::other("a frame of more than 64 KiB")),
    }
}
