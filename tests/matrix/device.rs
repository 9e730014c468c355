//! A client that reports what goes wrong, instead of ending the test.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    client::{CONNACK_V3, connect},
};

const PING: &[u8] = b"\xC0\x00";

/// What any one answer of a proxy that works may take, on a machine that has other work.
pub(crate) const WITHIN: Duration = Duration::from_secs(8);

pub(crate) struct Device {
    pub(crate) id: String,
    stream: TcpStream,
}

impl Device {
    /// A connection that has sent nothing.
    pub(crate) fn silent(address: SocketAddr, id: &str) -> Outcome<Self> {
        let failed = |error| format!("client {id} cannot connect to {address}: {error}");
        let stream = TcpStream::connect_timeout(&address, WITHIN).map_err(failed)?;
        Ok(Self::on(stream, id))
    }

    pub(crate) fn on(stream: TcpStream, id: &str) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(WITHIN));
        Self { id: id.to_owned(), stream }
    }

    /// One that has sent its CONNECT.
    pub(crate) fn open(address: SocketAddr, id: &str) -> Outcome<Self> {
        let mut device = Self::silent(address, id)?;
        device.connect()?;
        Ok(device)
    }

    pub(crate) fn connect(&mut self) -> Outcome {
        self.send(&connect(4, &self.id))
    }

    /// Its connection, for what reads and writes by itself.
    pub(crate) fn into_stream(self) -> TcpStream {
        let _ = self.stream.set_read_timeout(Some(WITHIN));
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.write_all(bytes).map_err(|error| format!("client {} writes: {error}", self.id))
    }

    pub(crate) fn read(&mut self, bytes: &mut [u8], until: Instant) -> Outcome {
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
        self.stream.read_exact(bytes).map_err(|error| format!("client {} reads: {error}", self.id))
    }

    /// Waits for the CONNACK with code 0.
    pub(crate) fn expect_accepted(&mut self, until: Instant) -> Outcome {
        let began = Instant::now();
        let mut answer = [0; 4];
        self.read(&mut answer, until).map_err(|error| {
            format!("{error}: no CONNACK after {:.1} s", began.elapsed().as_secs_f64())
        })?;
        if answer == CONNACK_V3 {
            Ok(())
        } else {
            Err(format!("client {} was answered {answer:02x?}", self.id))
        }
    }

    /// Whether the answer, or the end of the stream, has come.
    pub(crate) fn has_news(&self) -> bool {
        let _ = self.stream.set_nonblocking(true);
        let read = self.stream.peek(&mut [0]);
        let _ = self.stream.set_nonblocking(false);
        !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether the session still carries bytes to its broker and back.
    pub(crate) fn ping(&mut self) -> Outcome {
        self.send(PING)?;
        let mut answer = [0; 2];
        self.read(&mut answer, Instant::now() + WITHIN)?;
        if answer == PING { Ok(()) } else { Err(format!("client {}: {answer:02x?}", self.id)) }
    }
}

/// Waits for the CONNACKs of all.
pub(crate) fn expect_all_accepted(devices: &mut [Device], within: Duration) -> Outcome {
    let until = Instant::now() + within;
    let count = devices.len();
    let faults: Vec<_> =
        devices.iter_mut().filter_map(|device| device.expect_accepted(until).err()).collect();
    match faults.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} of {count} clients not accepted: {first}", faults.len())),
    }
}

/// Looks until `look` finds nothing wrong.
pub(crate) fn until_right<T>(within: Duration, mut look: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let give_up = Instant::now() + within;
    loop {
        match look() {
            Err(fault) if Instant::now() >= give_up => {
                return Err(format!("{fault}, after {:.0} s", within.as_secs_f64()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(30)),
            right => return right,
        }
    }
}
