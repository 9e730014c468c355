//! Scripted brokers.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::SockRef;

use crate::{
    client::connack,
    harness::{PATIENCE, wait_for},
};

/// A broker: its script runs once a connection, on a thread of its own.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    connections: AtomicUsize,
}

/// One connection of a broker.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
}

impl Broker {
    pub(crate) fn start(script: impl Fn(Link) + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn start_on(
        listener: TcpListener,
        script: impl Fn(Link) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = state.clone();
        let script = Arc::new(script);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let script = script.clone();
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || script(Link { stream }))
                    .unwrap();
            }
        });
        Self { address, state, accepting: Some(accepting) }
    }

    /// Accepts every client and sends back all it says.
    pub(crate) fn echoing() -> Self {
        Self::start(echo)
    }

    /// Reads, and never says a word.
    pub(crate) fn silent() -> Self {
        Self::start(|mut link| {
            let _ = io::copy(&mut link.stream, &mut io::sink());
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(crate) fn wait_connections(&self, count: usize) {
        wait_for(&format!("{count} connections of a broker"), || {
            (self.connections() >= count).then_some(())
        });
    }

    /// Stops listening; connections go on.
    pub(crate) fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = accepting.join();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Link {
    /// The next packet, byte for byte; `None` at the end of the stream.
    pub(crate) fn read_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 2];
        self.stream.read_exact(&mut packet).ok()?;
        let (mut remaining, mut shift) = (0, 0);
        loop {
            let byte = *packet.last()?;
            remaining |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            packet.push(0);
            self.stream.read_exact(packet.last_chunk_mut::<1>()?).ok()?;
        }
        let header = packet.len();
        packet.resize(header + remaining, 0);
        self.stream.read_exact(&mut packet[header..]).ok()?;
        Some(packet)
    }

    /// A peer that has left is for the test's own assertions to find.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the CONNECT and accepts the client.
    pub(crate) fn accept(&mut self) -> Option<Vec<u8>> {
        let connect = self.read_packet()?;
        self.send(&connack(version(&connect), 0));
        Some(connect)
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn patient(&self) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

pub(crate) fn echo(mut link: Link) {
    if let Some(connect) = link.read_packet() {
        echo_to(link, &connect);
    }
}

/// Accepts the client whose CONNECT was read, and sends back all it says.
pub(crate) fn echo_to(mut link: Link, connect: &[u8]) {
    link.send(&connack(version(connect), 0));
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = link.stream.read(&mut buffer) {
        link.send(&buffer[..n]);
    }
}

/// The protocol level of a CONNECT.
pub(crate) fn version(connect: &[u8]) -> u8 {
    // The remaining length's last byte is the first without the top bit, after the packet's type.
    let body = 2 + connect[1..].iter().position(|&byte| byte & 0x80 == 0).unwrap();
    let name = usize::from(connect[body + 1]);
    connect[body + 2 + name] & 0x7F
}
