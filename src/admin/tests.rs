use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{config::Bind, observe::AcceptError};

const LOOPBACK: Bind = Bind::Tcp(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

/// More than any deadline of the listener: what has not happened by then never will.
const NEVER: Duration = Duration::from_hours(1);

fn state(token: Option<&str>, readiness: Readiness) -> AdminState {
    AdminState {
        metrics: Metrics::new(),
        token: token.map(Secret::new),
        readiness: Arc::new(move || readiness),
    }
}

fn start(state: AdminState) -> (SocketAddr, JoinHandle<()>) {
    let listener = AdminListener::bind(&LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, state, pending())))
}

/// Sends bytes and returns all that is answered until the connection is closed.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// One request on a connection of its own; the answer's status and body.
async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> (String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    let answer = exchange(stream, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_routes_over_tcp() {
    let state = state(None, Readiness::Ready);
    state.metrics.count_accept_error(AcceptError::Memory);
    let (address, _server) = start(state);
    assert_eq!(ask(address, "GET", "/livez", "").await, ("200".into(), "ok\n".into()));
    assert_eq!(ask(address, "GET", "/readyz", "").await, ("200".into(), "ok\n".into()));
    assert_eq!(ask(address, "HEAD", "/livez", "").await, ("200".into(), String::new()));
    assert_eq!(ask(address, "GET", "/", "").await.0, "404");
    assert_eq!(ask(address, "GET", "/metrics/", "").await.0, "404");
    assert_eq!(ask(address, "POST", "/metrics", "Content-Length: 0\r\n").await.0, "405");
    let (status, metrics) = ask(address, "GET", "/metrics?x=1", "").await;
    assert_eq!(status, "200");
    assert!(metrics.contains("\nmqtt_lb_accept_errors_total{kind=\"memory\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn not_ready_is_503_with_its_reason_and_live_all_the_same() {
    let (address, _server) = start(state(None, Readiness::NotReady("draining")));
    let readyz = ask(address, "GET", "/readyz", "").await;
    assert_eq!(readyz, ("503".into(), "not ready: draining\n".into()));
    assert_eq!(ask(address, "GET", "/livez", "").await.0, "200");
}

#[tokio::test]
async fn only_the_right_token_opens_the_metrics() {
    let (address, _server) = start(state(Some("s3cret"), Readiness::Ready));
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
    // What a killed process leaves: the file of a socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let bind = Bind::Unix(path.clone());
    let listener = AdminListener::bind(&bind).unwrap();
    let in_use = AdminListener::bind(&bind).err().unwrap().to_string();
    assert!(in_use.starts_with(&format!("admin: cannot listen on unix:{}: ", path.display())));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, state(None, Readiness::Ready), async {
        let _ = stopped.await;
    }));
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer =
        exchange(stream, "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    stop.send(()).unwrap();
    server.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
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
             stop the process that has it, or choose another `admin.bind`"
        )
    );
}

/// The clock is paused: it jumps to the next deadline as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_and_an_idle_connection_are_closed() {
    let (address, _server) = start(state(None, Readiness::Ready));
    for sent in
        ["", "GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow:", "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let stream = TcpStream::connect(address).await.unwrap();
        let answer = time::timeout(NEVER, exchange(stream, sent)).await.expect(sent);
        assert_eq!(answer.contains("200 OK"), sent.ends_with("\r\n\r\n"), "{answer}");
    }
}

/// A body that trickles in is no way to hold a connection: it is not read at all.
#[tokio::test(start_paused = true)]
async fn a_body_is_ignored() {
    let (address, _server) = start(state(None, Readiness::Ready));
    let stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx";
    let answer = time::timeout(NEVER, exchange(stream, request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_for_one_to_end() {
    let (address, _server) = start(state(None, Readiness::Ready));
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    // Answered all the same, but not before the idle ones have been closed.
    let asked = time::Instant::now();
    let answer = time::timeout(NEVER, ask(address, "GET", "/livez", "")).await.unwrap();
    assert_eq!(answer.0, "200");
    assert!(asked.elapsed() >= HEAD_TIMEOUT);
    for mut stream in held {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn shutdown_closes_idle_connections() {
    let listener = AdminListener::bind(&LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, state(None, Readiness::Ready), async {
        let _ = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
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
