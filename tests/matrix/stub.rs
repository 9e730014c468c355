//! Scripted brokers that can be made to fail, and that tell probes from clients.

use std::{
    collections::BTreeMap,
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::broker::{Broker, Link, echo_to};

/// How a broker meets clients.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Behavior {
    /// Accepts them, and echoes.
    Good,
    /// Reads the CONNECT and resets.
    Reset,
    /// Keeps them without an answer until they are released.
    Hold,
}

/// A broker whose behavior the test can change.
pub(crate) struct Stub {
    broker: Broker,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    clients: AtomicU8,
    /// The CONNACK's code for probes.
    probe_code: AtomicU8,
    /// Whether CONNECTs of probes are not answered at all.
    ignores_probes: AtomicBool,
    probes: AtomicUsize,
    connects: AtomicUsize,
    holding: AtomicUsize,
    /// Counts releases; those held since before the last one go on.
    released: AtomicUsize,
    released_to: AtomicU8,
}

impl Stub {
    pub(crate) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let script = shared.clone();
        Self { broker: Broker::start(move |link| script.serve(link)), shared }
    }

    pub(crate) fn address(&self) -> String {
        self.broker.address.to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.broker.address.port()
    }

    pub(crate) fn behave(&self, behavior: Behavior) {
        self.shared.clients.store(behavior as u8, SeqCst);
    }

    /// Lets those who are held go on like this.
    pub(crate) fn release(&self, behavior: Behavior) {
        self.shared.released_to.store(behavior as u8, SeqCst);
        self.shared.released.fetch_add(1, SeqCst);
    }

    pub(crate) fn answer_probes(&self, code: u8) {
        self.shared.probe_code.store(code, SeqCst);
    }

    /// Hangs up on the CONNECTs of probes.
    pub(crate) fn ignore_probes(&self) {
        self.shared.ignores_probes.store(true, SeqCst);
    }

    /// Well again, for clients and for probes.
    pub(crate) fn heal(&self) {
        self.behave(Behavior::Good);
        self.shared.ignores_probes.store(false, SeqCst);
        self.answer_probes(0);
    }

    /// Connections so far that were probes.
    pub(crate) fn probes(&self) -> usize {
        self.shared.probes.load(SeqCst)
    }

    /// CONNECTs of clients so far.
    pub(crate) fn connects(&self) -> usize {
        self.shared.connects.load(SeqCst)
    }

    /// Clients that are held now.
    pub(crate) fn holding(&self) -> usize {
        self.shared.holding.load(SeqCst)
    }
}

/// The first byte of TLS, which is passed through to a broker that echoes it.
const TLS: u8 = 0x16;

impl Shared {
    fn serve(&self, mut link: Link) {
        let released = self.released.load(SeqCst);
        // A probe of type tcp only connects.
        let Some(packet) = link.read_packet() else {
            self.probes.fetch_add(1, SeqCst);
            return;
        };
        if is_probe(&packet) {
            self.probes.fetch_add(1, SeqCst);
            if self.ignores_probes.load(SeqCst) {
                return;
            }
            link.send(&[0x20, 2, 0, self.probe_code.load(SeqCst)]);
            return;
        }
        if packet[0] == TLS {
            link.send(&packet);
            let Ok(mut from) = link.stream.try_clone() else { return };
            let _ = std::io::copy(&mut from, &mut link.stream);
            return;
        }
        self.connects.fetch_add(1, SeqCst);
        let mut behavior = self.clients.load(SeqCst);
        if behavior == Behavior::Hold as u8 {
            self.holding.fetch_add(1, SeqCst);
            while self.released.load(SeqCst) == released && is_open(&link) {
                thread::sleep(Duration::from_millis(5));
            }
            self.holding.fetch_sub(1, SeqCst);
            behavior = self.released_to.load(SeqCst);
        }
        if behavior == Behavior::Reset as u8 {
            link.reset();
        } else if let Some(at) = packet.windows(4).position(|bytes| bytes == b"twin") {
            // After the ID's length, of two bytes.
            let len = usize::from(packet[at - 1]);
            serve_one_of_two(link, &packet, &packet[at..at + len]);
        } else {
            echo_to(link, &packet);
        }
    }
}

/// The sessions of client IDs that two devices have, of all brokers of all cells.
static TWINS: Mutex<BTreeMap<Vec<u8>, TcpStream>> = Mutex::new(BTreeMap::new());

/// Ends the older session of this ID before it accepts the newer one, as the standard says.
fn serve_one_of_two(link: Link, connect: &[u8], id: &[u8]) {
    let (Ok(ours), Ok(stream)) = (link.stream.try_clone(), link.stream.try_clone()) else { return };
    if let Some(older) = TWINS.lock().unwrap().insert(id.to_vec(), ours) {
        let _ = older.shutdown(Shutdown::Both);
    }
    echo_to(link, connect);
    let _ = stream.shutdown(Shutdown::Both);
}

/// Whether the other side has not hung up.
fn is_open(link: &Link) -> bool {
    let _ = link.stream.set_nonblocking(true);
    let read = link.stream.peek(&mut [0]);
    let _ = link.stream.set_nonblocking(false);
    matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Probes name themselves `mqttlb…`: the name stands behind a header of two bytes, the protocol's
/// name and level, the flags and the keep alive.
fn is_probe(packet: &[u8]) -> bool {
    packet.get(14..20) == Some(b"mqttlb")
}
