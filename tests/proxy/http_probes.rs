//! The HTTP probes of active health checks, as web servers see them.

use std::{
    io::Read,
    net::{Shutdown, TcpListener},
    sync::{Mutex, mpsc},
};

use crate::{
    broker::{Broker, Link, echo},
    config::Config,
    harness::PATIENCE,
    health::{CHECKS, UP, assert_all, hasty, patient},
    probes::{Seen, start_with_password},
};

/// A web server of one test: what it was asked, what it answers, and how its clients left.
struct WebServer {
    broker: Broker,
    requests: mpsc::Receiver<String>,
    answers: mpsc::Sender<&'static str>,
    left: mpsc::Receiver<Seen>,
}

impl WebServer {
    fn start() -> Self {
        let (tell, requests) = mpsc::channel();
        let (tell_left, left) = mpsc::channel();
        let (answers, wanted) = mpsc::channel::<&'static str>();
        let wanted = Mutex::new(wanted);
        let broker = Broker::start(move |mut link: Link| {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && link.stream.read_exact(&mut byte).is_ok() {
                request.push(byte[0]);
            }
            // A test that has seen enough neither listens nor answers any more.
            let _ = tell.send(String::from_utf8(request).unwrap());
            let answer = wanted.lock().unwrap().recv();
            let Ok(answer) = answer else { return };
            link.send(answer.as_bytes());
            let _ = link.stream.shutdown(Shutdown::Write);
            let _ = tell_left.send(Seen::rest_of(&mut link, vec![]));
        });
        Self { broker, requests, answers, left }
    }

    fn port(&self) -> u16 {
        self.broker.address.port()
    }

    /// Answers the next request, which has to be `wanted`, and sees its client off.
    #[track_caller]
    fn exchange(&self, wanted: &str, answer: &'static str) {
        assert_eq!(self.requests.recv_timeout(PATIENCE).unwrap(), wanted);
        self.answers.send(answer).unwrap();
        let seen = self.left.recv_timeout(PATIENCE).unwrap();
        assert_eq!((seen.rest, seen.ended), (vec![], Ok(())), "{answer}");
    }

    fn request(&self, path: &str, more: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUser-Agent: mqtt-lb/{}\r\nAccept: */*\r\n\
             Connection: close\r\n{more}\r\n",
            self.port(),
            env!("CARGO_PKG_VERSION")
        )
    }
}

#[test]
fn an_http_probe_asks_at_the_brokers_address() {
    let server = WebServer::start();
    // The second broker has an address of its own, where nothing serves that port.
    let brokers = [1, 2].map(|n| {
        let listener = TcpListener::bind(format!("127.0.0.{n}:0")).unwrap();
        Broker::start_on(listener, echo)
    });
    let path = "/api/v5/load_rebalance/availability_check";
    let kind = format!("http, port: {}, path: \"{path}\", fall: 1, rise: 1", server.port());
    let proxy = Config::of(&brokers).pool(&patient(&kind)).start();
    let mut checks = 0;
    for (text, up) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 1),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 0),
        ("HTTP/1.0 200 OK\r\n\r\nup to the end", 1),
        ("HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n\r\n", 0),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1),
        ("", 0),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", 1),
        ("\x20\x02\x00\x00", 0),
    ] {
        server.exchange(&server.request(path, ""), text);
        checks += 1;
        proxy.wait_metric(CHECKS, &["\"b1\""], f64::from(checks));
        assert_eq!(proxy.metric(UP, &["\"b1\""]) as u64, up, "{text}");
    }
    for said in ["status 503, expected 200", "status 301, expected 200", "no HTTP answer: "] {
        proxy.wait_stderr(said);
    }
    proxy.wait_metric(UP, &["\"b2\""], 0.0);
}

#[test]
fn an_http_probe_with_a_login() {
    let (broker, server) = (Broker::echoing(), WebServer::start());
    let login = "expect: [503, 204], username: probe, password_file: password";
    let kind = format!("http, port: {}, fall: 1, {login}", server.port());
    let mut config = Config::of([&broker]).pool(&patient(&kind));
    config.log_level = "trace";
    let proxy = start_with_password(&config);
    let wanted = server.request("/", "Authorization: Basic cHJvYmU6czNjcmV0\r\n");
    server.exchange(&wanted, "HTTP/1.1 204 No Content\r\n\r\n");
    proxy.wait_metric(CHECKS, &["\"ok\""], 1.0);
    server.exchange(&wanted, "HTTP/1.1 401 Unauthorized\r\n\r\n");
    proxy.wait_stderr("status 401, expected 503 or 204");
    let secrets = ["s3cret", "cHJvYmU6"];
    assert!(proxy.stderr().iter().all(|line| !secrets.iter().any(|secret| line.contains(secret))));
}

#[test]
fn a_web_server_that_never_answers() {
    let (broker, silent) = (Broker::echoing(), Broker::silent());
    let kind = format!("http, port: {}", silent.address.port());
    let proxy = Config::of([&broker]).pool(&hasty(&kind)).start();
    proxy.wait_metric(UP, &[], 0.0);
    proxy.wait_stderr("no HTTP answer within 1s");
    assert_all(&proxy, "timeout");
}
