//! Answers that nobody reads take a bounded memory, for a bounded time.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::http::{ask, get};
use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, Connect},
    config::Config,
    harness::{PATIENCE, Proxy, heavy, wait_for},
};

/// What all answers together may take, and half as much for everything else that goes on.
const BOUND: u64 = 96 << 20;

const SESSIONS: usize = 50;

/// Bytes of a client ID, each of which is six in JSON: a page has 17 MB.
const ID: usize = 58_000;

const PAGE: &str = "/api/v1/sessions?limit=1000";

fn long_ids(proxy: &Proxy) -> Vec<(String, Client)> {
    let sessions = (0..SESSIONS).map(|n| {
        let id = format!("{}{n}", "\u{2}".repeat(ID));
        let connect = Connect::new(4, &id).keep_alive(0).bytes();
        let client = Client::exchange(proxy.address(), &connect, CONNACK_V3);
        (id, client)
    });
    let sessions = sessions.collect();
    wait_for("the sessions", || {
        let pools = get(proxy, "/api/v1/upstreams");
        (pools["pools"][0]["upstreams"][0]["sessions"] == SESSIONS).then_some(())
    });
    sessions
}

/// Asks, and does not read; a refusal is the end of the connection too.
fn unread(proxy: &Proxy, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.admin()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers = "Host: localhost\r\nConnection: close";
    write!(stream, "GET {target} HTTP/1.1\r\n{headers}\r\n\r\n").unwrap();
    stream
}

#[test]
fn pages_that_nobody_reads() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let sessions = long_ids(&proxy);
    let (memory, descriptors) = (proxy.memory(), proxy.descriptors());
    let readers: Vec<_> = (0..100).map(|_| unread(&proxy, PAGE)).collect();
    let mut most = 0;
    wait_for("the proxy to hang up on those who do not read", || {
        most = most.max(proxy.memory().saturating_sub(memory));
        assert!(most < BOUND, "{most} bytes");
        (proxy.descriptors() <= descriptors).then_some(())
    });
    // Then there is room again.
    let page = get(&proxy, PAGE);
    assert_eq!(page["sessions"].as_array().unwrap().len(), SESSIONS);
    drop((readers, sessions));
}

/// A page is the same however it is read.
#[test]
fn a_page_that_is_read_slowly() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).workers(2).start();
    let sessions = long_ids(&proxy);
    let mut stream = TcpStream::connect(proxy.admin()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {PAGE} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut piece = vec![0; 10_000];
    loop {
        let n = stream.read(&mut piece).unwrap();
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..n]);
    }
    // HTTP/1.0 knows no chunks: the end of the connection is that of the body.
    let answer = String::from_utf8(answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let page: Value = serde_json::from_str(body).unwrap();
    assert_eq!(page.as_object().unwrap().len(), 1, "no next");
    let mut told: Vec<_> = page["sessions"].as_array().unwrap().iter().collect();
    told.sort_by_key(|session| session["client_id"].as_str().unwrap().len());
    let mut ids: Vec<_> = told.iter().map(|one| one["client_id"].as_str().unwrap()).collect();
    let mut wanted: Vec<_> = sessions.iter().map(|(id, _)| &**id).collect();
    ids.sort_unstable();
    wanted.sort_unstable();
    assert!(ids == wanted);
    // In pages of few it is the same sessions.
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = get(&proxy, &format!("/api/v1/sessions?limit=7{cursor}"));
        let sessions = page["sessions"].as_array().unwrap().len();
        seen += sessions;
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(sessions, 7);
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, SESSIONS);
}

/// Of one client ID, and of the metrics, which are made once for all who ask at a time.
#[test]
fn other_answers_that_nobody_reads() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).start();
    let sessions = long_ids(&proxy);
    let memory = proxy.memory();
    let id = "%02".repeat(2_000);
    let readers: Vec<_> = (0..200)
        .map(|n| match n % 4 {
            0 => unread(&proxy, "/metrics"),
            1 => unread(&proxy, "/api/v1/upstreams"),
            2 => unread(&proxy, "/api/v1/log"),
            _ => unread(&proxy, &format!("/api/v1/route?client_id={id}")),
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(ask(&proxy, "GET", "/api/v1/status", "", "").status, 200);
    }
    let grown = proxy.memory().saturating_sub(memory);
    assert!(grown < BOUND, "{grown} bytes");
    drop((readers, sessions));
}
