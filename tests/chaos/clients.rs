//! What clients do: whatever comes of it, they go on with the next thing.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use rustls::{ClientConfig, ClientConnection, Stream, pki_types::ServerName};
use socket2::SockRef;

use crate::{
    client::{Connect, packet, publish},
    proxy_header,
    world::{Way, World},
};

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(6);

/// Between two connections that wait for nothing: those of a blocked moment fit a listener's queue.
const BREATH: Duration = Duration::from_millis(20);

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A client, as it comes, does something and goes, until all are to stop.
pub(crate) fn come_and_go(world: &World, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng::with_seed(seed);
    let tls = world.pki.client().config();
    while !stop.load(Relaxed) {
        let way = *rng.choice(&Way::ALL).unwrap();
        let Ok(stream) = TcpStream::connect_timeout(&world.address(way), PATIENCE) else {
            thread::sleep(BREATH);
            continue;
        };
        world.count_opened(way);
        let mut visit = Visit { way, stream, rng: &mut rng, tls: &tls };
        // That it failed is part of the game.
        let _ = visit.make();
        thread::sleep(BREATH);
    }
}

struct Visit<'a> {
    way: Way,
    stream: TcpStream,
    rng: &'a mut Rng,
    tls: &'a Arc<ClientConfig>,
}

impl Visit<'_> {
    fn make(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.set_nodelay(true)?;
        match self.rng.u8(..20) {
            0 => Ok(()),
            1 => self.reset(),
            2 => self.local(),
            3 => self.noise(),
            4 => self.half(),
            // It waits for nobody.
            5 => {
                let connect = self.connect();
                self.speak(&connect)
            }
            _ => self.session(),
        }
    }

    fn reset(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// A balancer's check, where there may be one.
    fn local(&mut self) -> io::Result<()> {
        self.stream.write_all(&proxy_header::raw_v2(0x20, 0, b""))
    }

    fn noise(&mut self) -> io::Result<()> {
        let noise: &[u8] = match self.rng.u8(..4) {
            0 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            1 => b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
            2 => b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\xFF\xFF",
            _ => &[0xFF; 300],
        };
        self.stream.write_all(noise)?;
        let _ = self.stream.read(&mut [0; 64])?;
        Ok(())
    }

    /// The beginning of what it would have said, and then the end.
    fn half(&mut self) -> io::Result<()> {
        let connect = self.connect();
        let all = match self.way {
            Way::Plain => connect,
            Way::Tls => b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(),
            Way::WebSocket => REQUEST.to_vec(),
            Way::Proxied => proxy_header::v1("192.0.2.7:1234", proxy_header::DESTINATION),
        };
        let part = self.rng.usize(1..all.len());
        self.stream.write_all(&all[..part])?;
        if self.rng.bool() { self.reset() } else { Ok(()) }
    }

    fn session(&mut self) -> io::Result<()> {
        let connect = self.connect();
        self.speak(&connect)?;
        // CONNACK, of 3.x or 5.0, and perhaps of a WebSocket's upgrade in front of it.
        let mut answer = [0; 512];
        let read = self.hear(&mut answer)?;
        if read == 0 {
            return Ok(());
        }
        for _ in 0..self.rng.u8(..6) {
            let payload = vec![b'x'; self.rng.usize(..20_000)];
            self.speak(&publish(&payload))?;
            if self.rng.bool() && self.hear(&mut answer)? == 0 {
                return Ok(());
            }
        }
        match self.rng.u8(..4) {
            0 => self.reset(),
            1 => self.speak(b"\xE0\x00"),
            2 => {
                self.stream.shutdown(Shutdown::Write)?;
                io::copy(&mut self.stream, &mut io::sink()).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A CONNECT of any version; some are long, so that log lines are.
    fn connect(&mut self) -> Vec<u8> {
        let long = if self.rng.u8(..4) == 0 { "l".repeat(3000) } else { String::new() };
        let id = match self.rng.u8(..10) {
            0 => String::new(),
            n => format!("device-{}{long}", u16::from(n) * 10 + self.rng.u16(..10)),
        };
        Connect::new(*self.rng.choice(&[3, 4, 5]).unwrap(), &id).bytes()
    }

    /// Says something in the way that this listener wants it, with all that has to come first.
    fn speak(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_first = bytes[0] == 0x10;
        match self.way {
            Way::Tls if is_first => self.over_tls(bytes),
            // Over TLS its state went with the CONNECT: what follows is not a record.
            Way::Plain | Way::Tls => self.stream.write_all(bytes),
            Way::WebSocket => {
                if is_first {
                    self.stream.write_all(REQUEST)?;
                }
                let frame = frame(bytes);
                self.stream.write_all(&frame)
            }
            Way::Proxied => {
                if is_first {
                    let source = format!("192.0.2.{}:1234", self.rng.u8(1..));
                    let header = proxy_header::v2(&source, proxy_header::DESTINATION, b"");
                    self.stream.write_all(&header)?;
                }
                self.stream.write_all(bytes)
            }
        }
    }

    fn hear(&mut self, answer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(answer)
    }

    /// A handshake, the CONNECT, its answer, and some packets more.
    fn over_tls(&mut self, connect: &[u8]) -> io::Result<()> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(self.tls.clone(), name).unwrap();
        let mut tls = Stream::new(&mut connection, &mut self.stream);
        tls.write_all(connect)?;
        let mut answer = [0; 512];
        if tls.read(&mut answer)? > 0 {
            tls.write_all(&packet(0x30, b"\x00\x01tpayload"))?;
            let _ = tls.read(&mut answer)?;
        }
        if self.rng.bool() {
            connection.send_close_notify();
            connection.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

/// A masked binary frame, with a mask of zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 0x7E);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
