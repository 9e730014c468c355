//! Brokers that the operator drains, takes down and brings back, in a worker as the program runs it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mqtt_lb::testing::{
    access_log::AccessLogs,
    config::{Bind, Config},
    limits::ConnectionLimiter,
    listener::{self, Listener, ListenerPools},
    metrics::Metrics,
    net::TcpOptions,
    session::{ClientDirectory, ProcessContext, SESSION_ID_BITS},
    snapshot::Snapshot,
    upstream::{BrokerState, Pool, WorkerSignal},
    worker::{Worker, WorkerSetup, WorkerUpdate},
};
use tokio::sync::mpsc::{channel, unbounded_channel};

const PATIENCE: Duration = Duration::from_secs(30);
const WORKERS: u16 = 2;

/// Accepts every client and sends back all it says.
fn broker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut connect = [0; 512];
                let n = stream.read(&mut connect).unwrap_or(0);
                // The level, behind a header of two bytes and the name.
                let v5 = n > 8 && connect[8] == 5;
                let answer: &[u8] = if v5 { b"\x20\x03\x00\x00\x00" } else { b"\x20\x02\x00\x00" };
                let _ = stream.write_all(answer);
                let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
            });
        }
    });
    address
}

/// Workers over one pool of two brokers, b1 and b2.
struct Rig {
    pool: Arc<Pool>,
    address: SocketAddr,
    workers: Vec<Worker>,
}

impl Rig {
    fn start(pool: &str) -> Self {
        let text = format!(
            "listeners: [{{ name: mqtt, bind: \"127.0.0.1:0\", pool: brokers }}]\n\
             pools:\n- name: brokers\n  upstreams:\n\
             \x20 - {{ name: b1, address: \"{}\" }}\n\
             \x20 - {{ name: b2, address: \"{}\" }}\n{pool}",
            broker(),
            broker()
        );
        let config = Config::parse(&text, Path::new("states.yaml"), &|_| None).unwrap();
        let metrics = Metrics::new();
        let signal = Arc::new(WorkerSignal::default());
        let pool = Arc::new(Pool::new(&config.pools[0], &metrics, signal.clone()));
        let shared = ProcessContext {
            limiter: Arc::new(ConnectionLimiter::new(&config.limits, 1000, &metrics)),
            metrics: metrics.clone(),
            clients: Arc::new(ClientDirectory::new(WORKERS.into(), signal.clone())),
            signal,
        };
        let options = TcpOptions::towards_clients(&config.timeouts);
        let mut listening = listener::bind(&config.listeners[0], WORKERS.into(), options).unwrap();
        let Bind::Tcp(address) = listening.bind else { panic!("not TCP") };
        let sockets = std::mem::take(&mut listening.sockets);
        let pools = ListenerPools { default: pool.clone(), all: std::slice::from_ref(&pool) };
        let listener = Listener::new(&config.listeners[0], listening, &pools, &metrics);
        let (id, listeners) = (listener.id, vec![Arc::new(listener)]);
        let (config, pools) = (Arc::new(config), vec![pool.clone()]);
        let snapshot = Arc::new(Snapshot::first(&config, pools, listeners));
        let logs = AccessLogs::open(&[], metrics.access_logs()).unwrap();
        let (ended, _) = unbounded_channel();
        let workers = (0_u16..).zip(sockets).map(|(index, socket)| {
            let snapshot = snapshot.clone();
            let setup = WorkerSetup {
                index,
                shared: shared.clone(),
                update: WorkerUpdate {
                    snapshot,
                    sockets: vec![(id, socket)],
                    log: logs.worker_logs(),
                    pending: channel(1).0,
                },
                first_session_id: u64::from(index) << SESSION_ID_BITS,
                accepts: true,
            };
            Worker::start(setup, ended.clone()).unwrap()
        });
        Self { pool, address, workers: workers.collect() }
    }

    fn set(&self, name: &str, state: BrokerState) {
        self.pool.set_state(name, state, Instant::now()).unwrap();
    }

    /// Sessions on b1 and b2.
    fn sessions(&self) -> [u32; 2] {
        [0, 1].map(|at| self.pool.members().list[at].broker.sessions())
    }

    #[track_caller]
    fn wait_sessions(&self, wanted: [u32; 2]) {
        let give_up = Instant::now() + PATIENCE;
        while self.sessions() != wanted {
            assert!(Instant::now() < give_up, "{:?} is not {wanted:?}", self.sessions());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn connect(&self, version: u8, id: &str) -> (TcpStream, Vec<u8>) {
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend([version, 2, 0, 0]);
        if version == 5 {
            body.push(0);
        }
        body.extend((id.len() as u16).to_be_bytes());
        body.extend(id.as_bytes());
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[&[0x10, body.len() as u8][..], &body].concat()).unwrap();
        let mut answer = vec![0; if version == 5 { 5 } else { 4 }];
        stream.read_exact(&mut answer).unwrap();
        (stream, answer)
    }

    #[track_caller]
    fn session(&self, version: u8, id: &str) -> TcpStream {
        let (stream, answer) = self.connect(version, id);
        assert_eq!(answer[3], 0);
        stream
    }

    fn sessions_of(&self, kind: &str, count: usize) -> Vec<TcpStream> {
        (0..count).map(|n| self.session(5, &format!("{kind}-{n}"))).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.workers.iter().for_each(Worker::end_sessions);
        self.workers.iter().for_each(Worker::stop);
    }
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"\xC0\x00").unwrap();
    let mut back = [0; 2];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"\xC0\x00");
}

#[test]
fn a_draining_broker_keeps_its_sessions_and_gets_no_more() {
    let rig = Rig::start("");
    let mut held = rig.sessions_of("device", 20);
    let before = rig.sessions();
    assert!(before.iter().all(|sessions| *sessions > 3), "{before:?}");
    rig.set("b1", BrokerState::Draining);
    // Other clients: the same ones would not be let be online twice.
    let more = rig.sessions_of("sensor", 20);
    assert_eq!(rig.sessions(), [before[0], before[1] + 20]);
    held.iter_mut().for_each(echo);
    drop(more);
    rig.wait_sessions(before);
    rig.set("b1", BrokerState::Ready);
    let again = rig.sessions_of("device", 20);
    assert_eq!(rig.sessions(), before.map(|sessions| 2 * sessions));
    drop(again);
}

#[test]
fn a_draining_broker_is_emptied_at_the_rate_of_rebalance() {
    let rig = Rig::start("  rebalance: { rate: 200 }\n");
    let mut held = rig.sessions_of("device", 20);
    let before = rig.sessions();
    rig.set("b1", BrokerState::Draining);
    rig.wait_sessions([0, before[1]]);
    let gone = held.iter_mut().filter_map(|stream| {
        stream.set_nonblocking(true).unwrap();
        let mut bytes = [0; 3];
        stream.read(&mut bytes).ok().map(|_| bytes)
    });
    let gone: Vec<_> = gone.collect();
    assert_eq!(gone.len(), before[0] as usize);
    assert!(gone.iter().all(|bytes| bytes == b"\xE0\x01\x9C"));
}

#[test]
fn a_broker_that_is_down_loses_its_sessions() {
    let rig = Rig::start("");
    let held = rig.sessions_of("device", 20);
    let before = rig.sessions();
    rig.set("b2", BrokerState::Down);
    rig.wait_sessions([before[0], 0]);
    let gone: usize = held
        .into_iter()
        .map(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut bytes = Vec::new();
            usize::from(stream.read_to_end(&mut bytes).is_ok() && bytes == b"\xE0\x01\x9C")
        })
        .sum();
    assert_eq!(gone, before[1] as usize);
    let _more = rig.sessions_of("device", 20);
    assert_eq!(rig.sessions()[1], 0);
}

#[test]
fn a_broker_that_is_down_keeps_its_sessions_where_it_is_to() {
    let rig = Rig::start("  on_down: keep\n  rebalance: { rate: 1000 }\n");
    let mut held = rig.sessions_of("device", 20);
    let before = rig.sessions();
    rig.set("b2", BrokerState::Down);
    let mut other = rig.session(4, "someone-else");
    echo(&mut other);
    held.iter_mut().for_each(echo);
    assert_eq!(rig.sessions(), [before[0] + 1, before[1]]);
}

#[test]
fn when_no_broker_may_be_used_clients_are_told() {
    let rig = Rig::start("");
    rig.set("b1", BrokerState::Draining);
    rig.set("b2", BrokerState::Down);
    assert!(!rig.pool.can_serve() && !rig.pool.is_failing_open());
    for (version, code) in [(4, 3), (5, 0x88)] {
        let (mut stream, answer) = rig.connect(version, "nobody");
        assert_eq!(answer[3], code);
        assert!(rest(&mut stream).is_empty());
    }
    rig.set("b2", BrokerState::Ready);
    rig.session(4, "somebody");
    let unknown = rig.pool.set_state("b3", BrokerState::Down, Instant::now()).unwrap_err();
    assert_eq!(unknown.to_string(), "no broker b3 in pool brokers");
}
