//! DNS servers: Debian's dnsmasq, and a scripted one that can say anything.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{PATIENCE, wait_for};

/// dnsmasq, which knows the zone `test` and nothing else; stopped when it is dropped.
pub(crate) struct Dnsmasq {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    child: Option<Child>,
}

impl Dnsmasq {
    /// `records` are lines of its configuration, `hosts` those of a hosts file.
    pub(crate) fn start(records: &[&str], hosts: &[&str]) -> Self {
        let address = free_address();
        let mut server = Self { address, dir: tempfile::tempdir().unwrap(), child: None };
        server.write_hosts(hosts);
        server.restart(records);
        server
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Restarts it with other records.
    pub(crate) fn restart(&mut self, records: &[&str]) {
        self.stop();
        let file = self.dir.path().join("dnsmasq.conf");
        let records: String = records.iter().flat_map(|record| [record, "\n"]).collect();
        fs::write(&file, records).unwrap();
        let spawn = || {
            Command::new("dnsmasq")
                .arg(format!("--conf-file={}", file.to_str().unwrap()))
                .arg(format!("--addn-hosts={}", self.hosts().to_str().unwrap()))
                .arg(format!("--listen-address={}", self.address.ip()))
                .arg(format!("--port={}", self.address.port()))
                .args(["--bind-interfaces", "--no-daemon", "--no-resolv", "--no-hosts"])
                .args(["--pid-file=", "--local=/test/", "--local-ttl=1"])
                .stderr(Stdio::null())
                .spawn()
                .expect("dnsmasq, of Debian's package dnsmasq-base")
        };
        let mut child = spawn();
        wait_for("dnsmasq", || {
            if child.try_wait().unwrap().is_some() {
                // A socket for a look-up had its port at that moment.
                child = spawn();
            }
            // Its TCP socket is bound after the other one.
            TcpStream::connect(self.address).ok()
        });
        self.child = Some(child);
    }

    /// Replaces its hosts file while it runs.
    pub(crate) fn set_hosts(&self, hosts: &[&str]) {
        self.write_hosts(hosts);
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, Signal::HUP).unwrap();
    }

    fn write_hosts(&self, hosts: &[&str]) {
        let hosts: String = hosts.iter().flat_map(|host| [host, "\n"]).collect();
        fs::write(self.hosts(), hosts).unwrap();
    }

    fn hosts(&self) -> std::path::PathBuf {
        self.dir.path().join("hosts")
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that is free for UDP and TCP, on an address of its own: nobody is given that port while
/// the server is away.
fn free_address() -> SocketAddr {
    static SERVERS: AtomicU8 = AtomicU8::new(0);
    let address = Ipv4Addr::new(127, 2, 0, SERVERS.fetch_add(1, Ordering::SeqCst) + 1);
    bind(address).0.local_addr().unwrap()
}

fn bind(address: Ipv4Addr) -> (UdpSocket, TcpListener) {
    wait_for("a port for both", || {
        let udp = UdpSocket::bind((address, 0)).unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
        Some((udp, tcp))
    })
}

/// What is asked.
pub(crate) struct Query {
    pub(crate) id: [u8; 2],
    /// As it is in the message.
    pub(crate) question: Vec<u8>,
    pub(crate) name: String,
    pub(crate) kind: u16,
    pub(crate) over_tcp: bool,
}

pub(crate) const A: u16 = 1;
pub(crate) const TXT: u16 = 16;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

/// RFC 1035, section 4.1.1: a response to a query that wanted recursion, which was available.
const RESPONSE: u16 = 0x8180;
pub(crate) const TRUNCATED: u16 = 0x0200;
pub(crate) const SERVFAIL: u16 = 2;
pub(crate) const NXDOMAIN: u16 = 3;
pub(crate) const REFUSED: u16 = 5;

impl Query {
    fn read(message: &[u8], over_tcp: bool) -> Option<Self> {
        let id = *message.first_chunk()?;
        let mut name = String::new();
        let mut at = 12;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            name += std::str::from_utf8(message.get(at..at + length)?).ok()?;
            name.push('.');
            at += length;
        }
        let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
        let name = name.trim_end_matches('.').to_owned();
        Some(Self { id, question: message.get(12..at + 4)?.to_vec(), name, kind, over_tcp })
    }

    /// A whole answer, with `flags` in addition to the usual ones.
    pub(crate) fn answer(&self, flags: u16, records: &[Record]) -> Vec<u8> {
        let mut message = self.header(flags, 1, records.len());
        message.extend(&self.question);
        for record in records {
            message.extend(&record.bytes);
        }
        message
    }

    pub(crate) fn header(&self, flags: u16, questions: u16, answers: usize) -> Vec<u8> {
        let words = [RESPONSE | flags, questions, answers as u16, 0, 0];
        [&self.id[..], words.map(u16::to_be_bytes).as_flattened()].concat()
    }

    /// The answer of a server that knows these records; over UDP, as much as fits.
    pub(crate) fn answer_from(&self, zone: &[Record]) -> Vec<u8> {
        let named: Vec<_> = zone.iter().filter(|record| record.name == self.name).collect();
        let flags = if named.is_empty() { NXDOMAIN } else { 0 };
        let records: Vec<_> =
            named.into_iter().filter(|record| record.kind == self.kind).cloned().collect();
        let answer = self.answer(flags, &records);
        // What the proxy says it takes: RFC 6891, and DNS Flag Day 2020.
        if self.over_tcp || answer.len() <= 1232 { answer } else { self.answer(TRUNCATED, &[]) }
    }
}

#[derive(Clone)]
pub(crate) struct Record {
    name: String,
    kind: u16,
    pub(crate) bytes: Vec<u8>,
}

impl Record {
    pub(crate) fn new(name: &str, kind: u16, class: u16, ttl: u32, data: &[u8]) -> Self {
        let mut bytes = encoded(name);
        bytes.extend([kind, class].map(u16::to_be_bytes).as_flattened());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        Self { name: name.to_owned(), kind, bytes }
    }

    pub(crate) fn srv(name: &str, [priority, weight, port]: [u16; 3], target: &str) -> Self {
        let mut data = [priority, weight, port].map(u16::to_be_bytes).as_flattened().to_vec();
        data.extend(encoded(target));
        Self::new(name, SRV, 1, 1, &data)
    }

    pub(crate) fn address(name: &str, address: impl Into<IpAddr>) -> Self {
        match address.into() {
            IpAddr::V4(v4) => Self::new(name, A, 1, 1, &v4.octets()),
            IpAddr::V6(v6) => Self::new(name, AAAA, 1, 1, &v6.octets()),
        }
    }
}

/// A name in a message: labels behind their lengths.
fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// The messages that a query is answered with, as they are.
type Script = Box<dyn Fn(&Query) -> Vec<Vec<u8>> + Send>;

/// A server that says what it is told to say.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    script: Mutex<Script>,
    queries: AtomicUsize,
    stopping: AtomicBool,
}

impl NameServer {
    pub(crate) fn start(zone: Vec<Record>) -> Self {
        let (udp, tcp) = bind(Ipv4Addr::LOCALHOST);
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = udp.local_addr().unwrap();
        let state = Arc::new(State {
            script: Mutex::new(Box::new(|_| Vec::new())),
            queries: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let (for_udp, for_tcp) = (state.clone(), state.clone());
        let threads = vec![
            thread::spawn(move || for_udp.serve_udp(&udp)),
            thread::spawn(move || for_tcp.serve_tcp(&tcp)),
        ];
        let server = Self { address, state, threads };
        server.know(zone);
        server
    }

    /// From now on it knows these records and no others.
    pub(crate) fn know(&self, zone: Vec<Record>) {
        self.say(move |query| vec![query.answer_from(&zone)]);
    }

    pub(crate) fn say(&self, script: impl Fn(&Query) -> Vec<Vec<u8>> + Send + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn queries(&self) -> usize {
        self.state.queries.load(Ordering::SeqCst)
    }

    /// Waits for so many more queries than there have been.
    #[track_caller]
    pub(crate) fn wait_queries(&self, count: usize) {
        let until = self.queries() + count;
        wait_for("queries", || (self.queries() >= until).then_some(()));
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl State {
    fn answers(&self, message: &[u8], over_tcp: bool) -> Vec<Vec<u8>> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        let query = Query::read(message, over_tcp).expect("the proxy's query");
        (self.script.lock().unwrap())(&query)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut message = [0; 4096];
        while !self.is_stopping() {
            let Ok((length, client)) = socket.recv_from(&mut message) else { continue };
            for answer in self.answers(&message[..length], false) {
                let _ = socket.send_to(&answer, client);
            }
        }
    }

    fn serve_tcp(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_stopping() {
                return;
            }
            let (state, stream) = (self.clone(), stream.unwrap());
            thread::spawn(move || state.serve_stream(stream));
        }
    }

    /// Messages with their lengths before them: RFC 1035, section 4.2.2.
    fn serve_stream(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            for answer in self.answers(&message, true) {
                let length = (answer.len() as u16).to_be_bytes();
                if stream.write_all(&[&length[..], &answer].concat()).is_err() {
                    return;
                }
            }
        }
    }
}

/// Loopback addresses of one test: `127.1.block.n`.
pub(crate) fn ip(block: u8, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, block, n)
}
