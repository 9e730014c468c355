//! Tests that need a paused clock, or a listener without a proxy; the others are in `tests/proxy`.

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time,
};

use arc_swap::ArcSwap;

use super::{server::serve, *};
use crate::{
    access_log::BlockedLogs,
    config::{Admin, Bind, Config, Secret},
    limits::ConnectionLimiter,
    listener::{self, Listener, ListenerPools},
    metrics::{AcceptError, Metrics},
    net::TcpOptions,
    program_log::ProgramLog,
    session::{ClientDirectory, Inspector},
    snapshot::Snapshot,
    upstream::Pool,
};

const LOOPBACK: Bind = Bind::Tcp(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

/// More than any timeout of the listener.
const MAX_WAIT: time::Duration = time::Duration::from_hours(1);

/// The most connections at a time.
const CONNECTIONS: usize = 20;

const CONFIG: &str = "{ listeners: [{ name: l, bind: \"127.0.0.1:0\", pool: p }], \
    pools: [{ name: p, upstreams: [{ name: b, address: \"127.0.0.1:1\" }] }] }";

fn state(token: Option<&str>) -> AdminState {
    let mut config = Config::parse(CONFIG, Path::new("t.yaml"), &|_| None).unwrap();
    config.admin = Some(Admin { bind: LOOPBACK, token: token.map(Secret::new) });
    let config = Arc::new(config);
    let metrics = Metrics::new();
    let pool = Arc::new(Pool::new(&config.pools[0], &metrics, Arc::default()));
    let options = TcpOptions::towards_clients(&config.timeouts);
    let listening = listener::bind(&config.listeners[0], 1, options).unwrap();
    let all = vec![pool.clone()];
    let pools = ListenerPools { default: pool, all: &all };
    let listener = Listener::new(&config.listeners[0], listening, &pools, &metrics);
    let snapshot = Snapshot::first(&config, all, vec![Arc::new(listener)]);
    AdminState {
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        workers: 1,
        limiter: Arc::new(ConnectionLimiter::new(&config.limits, 10, &Metrics::new())),
        draining: Arc::default(),
        log: ProgramLog::default(),
        blocked_logs: BlockedLogs::default(),
        sessions: Inspector::new(Vec::new(), Arc::new(ClientDirectory::new(0, Arc::default()))),
        reloads: ReloadChannel::new(mpsc::channel(1).0, Arc::default()),
        upgrades: UpgradeChannel::new(mpsc::channel(1).0, UpgradeStatus::default()),
        config_file: "t.yaml".into(),
        started: (SystemTime::now(), Instant::now()),
        max_connections: CONNECTIONS,
        metrics,
    }
}

fn accepting() -> watch::Receiver<AdminMode> {
    watch::channel(AdminMode::Accepting).1
}

fn start(state: AdminState) -> (SocketAddr, JoinHandle<()>) {
    start_until(state, pending())
}

fn start_until(
    state: AdminState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = AdminListener::bind(&LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async { serve(listener, state, accepting(), shutdown).await.unwrap() }))
}

/// Sends bytes and returns everything received until the connection closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Sends one request on a new connection; returns the response's status and body.
async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> (String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    );
    let answer = exchange(stream, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_routes_over_tcp() {
    let state = state(None);
    state.metrics.count_accept_error(AcceptError::Memory);
    let (address, _server) = start(state);
    assert_eq!(ask(address, "GET", "/livez", "").await, ("200".into(), "ok\n".into()));
    assert_eq!(ask(address, "GET", "/readyz", "").await, ("200".into(), "ok\n".into()));
    assert_eq!(ask(address, "HEAD", "/livez", "").await, ("200".into(), String::new()));
    assert_eq!(ask(address, "GET", "/nothing", "").await.0, "404");
    assert_eq!(ask(address, "GET", "/metrics/", "").await.0, "404");
    assert_eq!(ask(address, "POST", "/metrics", "Content-Length: 0\r\n").await.0, "405");
    let (status, metrics) = ask(address, "GET", "/metrics?x=1", "").await;
    assert_eq!(status, "200");
    assert!(metrics.contains("\nmqtt_lb_accept_errors_total{kind=\"memory\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn not_ready_is_503_with_its_reason_and_live_all_the_same() {
    let state = state(None);
    state.draining.store(true, Ordering::Relaxed);
    let (address, _server) = start(state);
    let readyz = ask(address, "GET", "/readyz", "").await;
    assert_eq!(readyz, ("503".into(), "not ready: draining\n".into()));
    assert_eq!(ask(address, "GET", "/livez", "").await.0, "200");
}

#[tokio::test]
async fn only_the_right_token_opens_the_metrics() {
    let (address, _server) = start(state(Some("s3cret")));
    let metrics = async |headers: &str| ask(address, "GET", "/metrics", headers).await.0;
    assert_eq!(metrics("Authorization: Bearer s3cret\r\n").await, "200");
    assert_eq!(metrics("authorization: bearer s3cret\r\n").await, "200");
    for wrong in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer s3creT\r\n",
        "Authorization: Bearer s3cre\r\n",
        "Authorization: Bearer s3cret2\r\n",
        "Authorization: Basic s3cret\r\n",
        "Authorization: s3cret\r\n",
    ] {
        assert_eq!(metrics(wrong).await, "401", "{wrong:?}");
    }
    assert_eq!(ask(address, "GET", "/livez", "").await.0, "200");
    assert_eq!(ask(address, "GET", "/readyz", "").await.0, "200");
}

#[tokio::test]
async fn a_unix_socket_serves_replaces_a_stale_one_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    // As left by a killed process: the file of a socket on which no process listens.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let bind = Bind::Unix(path.clone());
    let listener = AdminListener::bind(&bind).unwrap();
    let in_use = AdminListener::bind(&bind).err().unwrap().to_string();
    assert!(in_use.starts_with(&format!("admin: cannot listen on unix:{}: ", path.display())));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, state(None), accepting(), async {
        let _ = stopped.await;
    }));
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer =
        exchange(stream, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_not_a_socket_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(AdminListener::bind(&Bind::Unix(file.path().to_owned())).is_err());
    assert!(file.path().exists());
}

#[tokio::test]
async fn a_bind_error_says_the_address_and_what_to_do() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = AdminListener::bind(&Bind::Tcp(address)).err().unwrap().to_string();
    assert_eq!(
        error,
        format!(
            "admin: cannot listen on {address}: Address already in use (os error 98); \
             stop the process that uses it, or change `admin.bind`"
        )
    );
}

/// With the clock paused, time advances to the next timeout as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_and_an_idle_connection_are_closed() {
    let (address, _server) = start(state(None));
    for sent in [
        "",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow:",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        let answer = time::timeout(MAX_WAIT, exchange(stream, sent)).await.expect(sent);
        assert_eq!(answer.contains("200 OK"), sent.ends_with("\r\n\r\n"), "{answer}");
    }
}

/// A GET's body does not hold the connection: it is not read.
#[tokio::test(start_paused = true)]
async fn the_body_of_a_get_is_ignored() {
    let (address, _server) = start(state(None));
    let stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nx";
    let answer = time::timeout(MAX_WAIT, exchange(stream, request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_times_out() {
    let (address, _server) = start(state(None));
    let stream = TcpStream::connect(address).await.unwrap();
    let request = "PATCH /api/v1/pools/p/upstreams/b HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{";
    let answer = time::timeout(MAX_WAIT, exchange(stream, request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// Sends an operator's request and reads its response.
async fn ask_log(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET /api/v1/log HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"{\"lines\":[],\"last\":0}") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_connection_is_evicted() {
    let (address, _server) = start(state(None));
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask_log(&mut stream).await.unwrap();
        held.push(stream);
    }
    // A request that needs no token does not count.
    held[0].write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(address, "GET", "/livez", "").await.0, "200");
    }
    let mut rest = String::new();
    held[0].read_to_string(&mut rest).await.unwrap();
    for stream in &mut held[1..] {
        ask_log(stream).await.unwrap();
    }
}

/// A connection without a request so far gets less time than one between requests.
#[tokio::test(start_paused = true)]
async fn the_first_head_has_less_time_than_later_ones() {
    let (address, _server) = start(state(None));
    let waits = async |first: bool| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if first {
            ask_log(&mut stream).await.unwrap();
        }
        stream.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").await.unwrap();
        let began = time::Instant::now();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        began.elapsed().as_secs()
    };
    assert_eq!((waits(false).await, waits(true).await), (10, 30));
}

#[tokio::test]
async fn shutdown_closes_idle_connections() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, server) = start_until(state(None), async {
        let _ = stopped.await;
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    stop.send(()).unwrap();
    server.await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n\r\nok\n"), "{rest}");
    assert!(TcpStream::connect(address).await.is_err());
}
