//! Clients that are on their way in, by TLS, by TLS that is passed through, and by WebSocket.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Instant,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::State;
use crate::{
    Outcome,
    client::{CONNACK_V3, connect},
    device::{Device, WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation,
    tls_client::Pki,
};

pub(super) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// One is in the midst of its ClientHello, another has yet to send its CONNECT.
#[derive(Default)]
pub(super) struct Tls {
    pki: Option<Pki>,
    half: Option<(ClientConnection, Vec<u8>, Device)>,
    done: Option<TlsStream>,
}

impl State for Tls {
    fn name(&self) -> &'static str {
        "TLS handshake under way"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        let pki = Pki::new();
        file.more_listeners.push(format!("name: mqtts, {}", pki.tls("")));
        self.pki = Some(pki);
    }

    fn change_own_key(&mut self, file: &mut File) {
        for listener in &mut file.more_listeners {
            *listener = listener.replace("tls: {", "tls: { min_version: \"1.3\",");
        }
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let pki = self.pki.as_ref().ok_or("no certificates")?;
        let new = || {
            let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
            ClientConnection::new(pki.client().config(), name).map_err(|error| error.to_string())
        };
        let mut connection = new()?;
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).map_err(|error| error.to_string())?;
        let mut device = fixture.silent_at("mqtts", "half")?;
        device.send(&hello[..20])?;
        self.half = Some((connection, hello, device));
        let mut done = StreamOwned::new(new()?, fixture.silent_at("mqtts", "done")?.into_stream());
        // The ticket comes behind the handshake, so that its end is the proxy's too.
        while done.conn.is_handshaking() {
            done.conn.complete_io(&mut done.sock).map_err(|error| error.to_string())?;
        }
        self.done = Some(done);
        wait_open(fixture, 2)
    }

    fn at_once(&mut self, _: &mut Fixture, operation: Operation) -> Outcome {
        let Some((connection, hello, mut device)) = self.half.take() else { return Ok(()) };
        device.send(&hello[20..])?;
        let half = StreamOwned::new(connection, device.into_stream());
        for (name, stream) in [("half", Some(half)), ("done", self.done.take())] {
            let Some(mut stream) = stream else { continue };
            serve(&mut stream, name).map_err(|error| {
                format!("{name} of a TLS handshake, {}: {error}", operation.name())
            })?;
        }
        Ok(())
    }
}

pub(super) fn serve(stream: &mut TlsStream, id: &str) -> std::io::Result<()> {
    stream.write_all(&connect(4, id))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    let accepted = answer == CONNACK_V3;
    if accepted { Ok(()) } else { Err(std::io::Error::other(format!("{answer:02x?}"))) }
}

/// One is in the midst of its ClientHello, which a broker is to get.
#[derive(Default)]
pub(super) struct PassedThrough {
    /// The client, and the rest of its ClientHello.
    half: Option<(Device, Vec<u8>)>,
    hello: Vec<u8>,
}

impl State for PassedThrough {
    fn name(&self) -> &'static str {
        "ClientHello under way"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        let is_identity = operation == Operation::IdentityChanged;
        is_identity.then_some("TLS that is passed through hides who clients are")
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        file.more_listeners.push("name: passed, tls: passthrough".to_owned());
    }

    fn change_own_key(&mut self, file: &mut File) {
        for listener in &mut file.more_listeners {
            listener.push_str(", timeouts: { idle: 10m }");
        }
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let name = ServerName::try_from("eu.example").map_err(|error| error.to_string())?;
        let config = Pki::new().client().config();
        let connection = ClientConnection::new(config, name).map_err(|error| error.to_string());
        connection?.write_tls(&mut self.hello).map_err(|error| error.to_string())?;
        let mut device = fixture.silent_at("passed", "half")?;
        let (first, rest) = self.hello.split_at(20);
        device.send(first)?;
        self.half = Some((device, rest.to_vec()));
        wait_open(fixture, 1)
    }

    fn at_once(&mut self, _: &mut Fixture, operation: Operation) -> Outcome {
        let Some((mut device, rest)) = self.half.take() else { return Ok(()) };
        device.send(&rest)?;
        let mut echoed = vec![0; self.hello.len()];
        device
            .read(&mut echoed, Instant::now() + WITHIN)
            .map_err(|error| format!("half of a ClientHello, {}: {error}", operation.name()))?;
        let is_same = echoed == self.hello;
        if is_same { Ok(()) } else { Err("the broker got another ClientHello".to_owned()) }
    }
}

/// One is in the midst of its request, another has yet to send its CONNECT.
#[derive(Default)]
pub(super) struct WebSocket {
    half: Option<Device>,
    done: Option<Device>,
}

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

impl State for WebSocket {
    fn name(&self) -> &'static str {
        "WebSocket handshake under way"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        file.more_listeners.push("name: ws, websocket: { path: /mqtt }".to_owned());
    }

    /// The path of those who come from then on.
    fn change_own_key(&mut self, file: &mut File) {
        for listener in &mut file.more_listeners {
            *listener = listener.replace("/mqtt", "/mqtt, origins: [\"https://app.example\"]");
        }
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let mut half = fixture.silent_at("ws", "half")?;
        half.send(&REQUEST.as_bytes()[..30])?;
        self.half = Some(half);
        let mut done = fixture.silent_at("ws", "done")?;
        upgrade(&mut done, REQUEST.as_bytes())?;
        self.done = Some(done);
        wait_open(fixture, 2)
    }

    fn at_once(&mut self, _: &mut Fixture, _: Operation) -> Outcome {
        let Some(mut half) = self.half.take() else { return Ok(()) };
        upgrade(&mut half, &REQUEST.as_bytes()[30..])?;
        for mut device in [Some(half), self.done.take()].into_iter().flatten() {
            let packet = connect(4, &device.id);
            // RFC 6455, section 5.2: one binary frame, masked by zeros.
            let header = [0x82, 0x80 | packet.len() as u8, 0, 0, 0, 0];
            device.send(&[&header[..], &packet].concat())?;
            let mut answer = [0; 6];
            device.read(&mut answer, Instant::now() + WITHIN)?;
            if answer != *[&[0x82, 4], CONNACK_V3].concat() {
                return Err(format!("a client over WebSocket was answered {answer:02x?}"));
            }
        }
        Ok(())
    }
}

/// Sends the rest of a request, and reads the answer to it.
fn upgrade(device: &mut Device, request: &[u8]) -> Outcome {
    device.send(request)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        device.read(&mut byte, Instant::now() + WITHIN)?;
        answer.extend(byte);
    }
    let upgraded = answer.starts_with(b"HTTP/1.1 101 ");
    if upgraded { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into_owned()) }
}

/// Waits until the proxy has so many connections more than sessions.
fn wait_open(fixture: &Fixture, more: usize) -> Outcome {
    until_right(WITHIN, || {
        let active = crate::api::sum(&fixture.samples()?, "connections_active", None) as usize;
        let all = active == fixture.held.len() + more;
        if all { Ok(()) } else { Err(format!("{active} connections are open")) }
    })
}
