//! Those who hold connections keep nobody else out.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{http::ask, security::with_token};
use crate::{
    broker::Broker,
    config::Config,
    harness::{PATIENCE, Proxy, heavy, run, wait_for},
};

const TOKEN: &str = "Authorization: Bearer s3cret\r\n";

/// As many connections as there are places.
const CROWD: usize = 1100;

/// Connections that ask again and again, and come again when they are closed; until it is dropped.
struct Crowd {
    answered: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    fn start(address: SocketAddr, request: &'static str) -> Self {
        let (answered, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, over) = (answered.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                for _ in 0..CROWD {
                    let count = count.clone();
                    tokio::spawn(async move {
                        loop {
                            let _ = keep_asking(address, request, &count).await;
                        }
                    });
                }
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        });
        Self { answered, is_over, thread: Some(thread) }
    }

    /// Waits until all of it, by and large, has been answered once more.
    #[track_caller]
    fn wait_answered(&self) {
        let wanted = self.answered.load(Ordering::Relaxed) + CROWD;
        wait_for("the crowd to be answered", || {
            (self.answered.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

async fn keep_asking(
    address: SocketAddr,
    request: &str,
    answered: &AtomicUsize,
) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let mut answer = vec![0; 64 * 1024];
    loop {
        stream.write_all(request.as_bytes()).await?;
        if stream.read(&mut answer).await? == 0 {
            return Ok(());
        }
        answered.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

/// An operator's connection that stays open.
struct Kept(TcpStream);

impl Kept {
    fn open(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.admin()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    #[track_caller]
    fn ask(&mut self) {
        let request = format!("GET /api/v1/log?after=99999 HTTP/1.1\r\nHost: x\r\n{TOKEN}\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut piece = [0; 4096];
            let n = self.0.read(&mut piece).unwrap();
            assert!(n > 0, "closed after {answer:?}");
            answer.push_str(str::from_utf8(&piece[..n]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// All that operators and probes ask is answered, on new connections and on those they have.
fn everybody_else_is_answered(proxy: &Proxy, crowd: &Crowd, kept: &mut Kept) {
    crowd.wait_answered();
    for _ in 0..10 {
        for open in ["/livez", "/readyz"] {
            assert_eq!(ask(proxy, "GET", open, "", "").status, 200, "{open}");
        }
        for (method, target, status) in [
            ("GET", "/metrics", 200),
            ("GET", "/api/v1/status", 200),
            ("GET", "/api/v1/sessions", 200),
            ("DELETE", "/api/v1/sessions/0000000000000000", 404),
        ] {
            assert_eq!(ask(proxy, method, target, TOKEN, "").status, status, "{target}");
        }
        kept.ask();
    }
    let token_file = proxy.path("admin.token");
    let admin = format!("http://{}", proxy.admin());
    let ctl = ["ctl", "--admin", &admin, "--token-file", token_file.to_str().unwrap(), "status"];
    let output = run(&ctl, "");
    assert!(output.status.success(), "{output:?}");
    crowd.wait_answered();
    kept.ask();
}

#[test]
fn a_crowd_without_the_token() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = with_token(&broker);
    let mut kept = Kept::open(&proxy);
    kept.ask();
    for request in [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\n\r\n",
    ] {
        let crowd = Crowd::start(proxy.admin(), request);
        everybody_else_is_answered(&proxy, &crowd, &mut kept);
    }
}

/// Nobody has to knock twice where there are places for all.
#[test]
fn a_thousand_scrapers_at_once() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = with_token(&broker);
    let address = proxy.admin();
    let scrape = move || async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.0\r\n{TOKEN}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer:?}");
        assert!(answer.ends_with('\n'), "{answer:?}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scrapers: Vec<_> = (0..1000).map(|_| tokio::spawn(scrape())).collect();
        for scraper in scrapers {
            scraper.await.unwrap();
        }
    });
}

/// Without a token all on this machine are operators; newcomers are let in all the same.
#[test]
fn a_crowd_of_operators() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let request = "GET /api/v1/log?after=99999 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let crowd = Crowd::start(proxy.admin(), request);
    crowd.wait_answered();
    for _ in 0..20 {
        for target in ["/livez", "/readyz", "/metrics", "/api/v1/status"] {
            assert_eq!(ask(&proxy, "GET", target, "", "").status, 200, "{target}");
        }
    }
    crowd.wait_answered();
}

/// Those who connect and say nothing, or half a request.
#[test]
fn a_silent_crowd() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let silent: Vec<_> = (0..CROWD + 100)
        .map(|n| {
            let mut stream = TcpStream::connect(proxy.admin()).unwrap();
            if n % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(ask(&proxy, "GET", "/metrics", "", "").status, 200);
    }
    drop(silent);
}
