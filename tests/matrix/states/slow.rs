//! Clients that read nothing, so that bytes are left in the proxy.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::State;
use crate::{
    Outcome,
    device::{Device, WITHIN},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, Drain, OwnKey},
    tls_client::Pki,
};

/// A client has sent all that fits once nothing has gone for so long.
const STUCK_AFTER: Duration = Duration::from_millis(300);

/// One over TCP, one over TLS. A broker echoes what they send, until all buffers are full.
#[derive(Default)]
pub(super) struct SlowReaders {
    pki: Option<Pki>,
    plain: Option<Reader>,
    tls: Option<Reader>,
}

struct Reader {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    sent: usize,
}

impl State for SlowReaders {
    fn name(&self) -> &'static str {
        "slow readers"
    }

    fn is_apart_from(&self, operation: Operation) -> Option<&'static str> {
        (operation == OwnKey).then_some("no key governs it")
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        let pki = Pki::new();
        file.more_listeners.push(format!("name: mqtts, {}", pki.tls("")));
        self.pki = Some(pki);
    }

    fn change_own_key(&mut self, _: &mut File) {}

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let stream = fixture.connect("slow")?.into_stream();
        let mut plain = Reader { stream, tls: None, sent: 0 };
        let config = self.pki.as_ref().ok_or("no certificates")?.client().config();
        let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
        let tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        let mut tls = StreamOwned::new(tls, fixture.silent_at("mqtts", "slow-tls")?.into_stream());
        super::layers::serve(&mut tls, "slow-tls").map_err(|error| error.to_string())?;
        let mut tls = Reader { stream: tls.sock, tls: Some(Box::new(tls.conn)), sent: 0 };
        for reader in [&mut plain, &mut tls] {
            reader.fill().map_err(|error| error.to_string())?;
        }
        (self.plain, self.tls) = (Some(plain), Some(tls));
        Ok(())
    }

    /// Each gets all of it, in order.
    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        let (plain, tls) = (self.plain.take(), self.tls.take());
        if operation == Drain {
            return Ok(());
        }
        for reader in [plain, tls].into_iter().flatten() {
            if let Some(device) = reader.read_all().map_err(|error| error.to_string())? {
                fixture.held.push(device);
            }
        }
        Ok(())
    }
}

impl Reader {
    fn fill(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut last = Instant::now();
        while last.elapsed() < STUCK_AFTER {
            let block: Vec<u8> = (self.sent..self.sent + 16 * 1024).map(byte).collect();
            let taken = match &mut self.tls {
                Some(tls) => tls.writer().write(&block)?,
                None => done(self.stream.write(&block))?,
            };
            self.sent += taken;
            if taken + self.send_records()? > 0 {
                last = Instant::now();
            } else {
                thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Reads what was echoed. Returns the client over TCP.
    fn read_all(mut self) -> io::Result<Option<Device>> {
        let give_up = Instant::now() + 2 * WITHIN;
        let (mut heard, mut buffer) = (0, vec![0; 64 * 1024]);
        while heard < self.sent {
            self.send_records()?;
            let n = self.read(&mut buffer)?;
            if let Some(wrong) = (0..n).find(|at| buffer[*at] != byte(heard + at)) {
                return Err(io::Error::other(format!("byte {} is another one", heard + wrong)));
            }
            heard += n;
            if Instant::now() > give_up {
                let why = format!("{heard} of {} bytes came back", self.sent);
                return Err(io::Error::other(why));
            }
            if n == 0 {
                thread::sleep(Duration::from_millis(2));
            }
        }
        self.stream.set_nonblocking(false)?;
        Ok(self.tls.is_none().then(|| Device::on(self.stream, "slow")))
    }

    /// What is there; 0 if nothing is.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ended = || io::Error::from(ErrorKind::UnexpectedEof);
        let Some(tls) = &mut self.tls else {
            return match self.stream.read(buffer) {
                Ok(0) => Err(ended()),
                read => done(read),
            };
        };
        match tls.read_tls(&mut self.stream) {
            Ok(0) => return Err(ended()),
            read => done(read)?,
        };
        tls.process_new_packets().map_err(io::Error::other)?;
        done(tls.reader().read(buffer))
    }

    fn send_records(&mut self) -> io::Result<usize> {
        let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) else { return Ok(0) };
        done(tls.write_tls(&mut self.stream))
    }
}

/// The byte of a stream at this position.
fn byte(at: usize) -> u8 {
    (at * 31 % 251) as u8
}

/// 0 for what would wait.
fn done(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}
