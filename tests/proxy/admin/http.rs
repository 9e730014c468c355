//! One request, and what came of it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use crate::harness::{PATIENCE, Proxy};

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    head: String,
    pub(super) body: String,
}

impl Told {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The message of an error response.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn ask(proxy: &Proxy, method: &str, target: &str, headers: &str, body: &str) -> Told {
    let length = if body.is_empty() && method == "GET" {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let host = if headers.contains("Host: ") { "" } else { "Host: localhost\r\n" };
    let request = format!(
        "{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}"
    );
    told(&exchange(proxy.admin(), request.as_bytes()))
}

#[track_caller]
pub(crate) fn get(proxy: &Proxy, target: &str) -> Value {
    let told = ask(proxy, "GET", target, "", "");
    assert_eq!(told.status, 200, "{target}: {told:?}");
    told.json()
}

#[track_caller]
pub(crate) fn patch(proxy: &Proxy, target: &str, body: &str) -> Told {
    ask(proxy, "PATCH", target, "Content-Type: application/json\r\n", body)
}

/// Sends bytes, and returns all that comes until the connection is closed.
#[track_caller]
pub(super) fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The listener may have said no before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[track_caller]
pub(super) fn told(answer: &str) -> Told {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    Told { status, head: head.to_owned(), body }
}

/// A body of chunks, which has to be whole (RFC 9112, section 7.1).
#[track_caller]
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, behind) = rest.split_once("\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect(size);
        let (chunk, behind) = behind.split_at(size);
        rest = behind.strip_prefix("\r\n").expect("a chunk's end");
        if size == 0 {
            assert_eq!(rest, "");
            return body;
        }
        body.push_str(chunk);
    }
}
