//! Records after the handshake: key updates on both sides, and OpenSSL with every suite.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    broker::{Broker, Link},
    client::{CONNACK_V3, Client, connect, publish},
    config::Config,
    harness::{end, wait_for},
    tls_client::Pki,
    tls_upstream,
};

/// The arguments of OpenSSL that select a suite; those of TLS 1.2 have its names.
const SUITES: [(&str, &str, &str); 6] = [
    ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"),
    ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"),
    ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"),
];

/// Accepts the client, and sends back all it says; each answer follows a key update.
fn updating_broker(config: Arc<ServerConfig>) -> Broker {
    Broker::start(move |link: Link| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        link.patient();
        let mut tls = StreamOwned::new(connection, link.stream.try_clone().unwrap());
        let mut buffer = vec![0; 1 << 16];
        if !matches!(tls.read(&mut buffer), Ok(1..)) || tls.write_all(CONNACK_V3).is_err() {
            return;
        }
        while let Ok(n @ 1..) = tls.read(&mut buffer) {
            tls.conn.refresh_traffic_keys().unwrap();
            if tls.write_all(&buffer[..n]).and_then(|()| tls.flush()).is_err() {
                return;
            }
        }
        tls.conn.send_close_notify();
        let _ = tls.flush();
    })
}

/// Both peers replace their keys with every message, and ask the proxy to replace its own.
#[test]
fn key_updates_on_both_sides() {
    let pki = Pki::new();
    let broker = updating_broker(Pki::server(&pki.issue("broker"), None));
    let to_broker = format!("tls: {{ ca: \"{}/ca.pem\" }}", pki.path().display());
    let proxy = Config::of([&broker]).listener(&pki.tls("")).pool(&to_broker).start();
    let mut client = pki.client().open(proxy.address()).session("c");
    for n in 0..50 {
        client.stream.conn.refresh_traffic_keys().unwrap();
        client.echo(&publish(&vec![n; 3000]));
    }
    client.finish();
    assert_eq!(client.rest(), (Vec::new(), true));
    assert_eq!(end(&proxy.wait_end("c")), "client/relay/closed");
}

/// An `openssl` whose input and output are those of the connection, with what it reports.
struct OpenSsl {
    process: Child,
    input: ChildStdin,
    output: Arc<Mutex<Vec<u8>>>,
}

impl OpenSsl {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new("openssl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        copy(process.stdout.take().unwrap(), output.clone());
        copy(process.stderr.take().unwrap(), output.clone());
        Self { process, input, output }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).unwrap();
        self.input.flush().unwrap();
    }

    /// Waits until this has been received as often.
    #[track_caller]
    fn wait(&self, bytes: &[u8], times: usize) {
        wait_for(&format!("{:?} from OpenSSL", String::from_utf8_lossy(bytes)), || {
            let output = self.output.lock().unwrap();
            let found = output.windows(bytes.len()).filter(|window| *window == bytes).count();
            (found >= times).then_some(())
        });
    }
}

/// Appends all of `from` to `to`, in a thread of its own.
fn copy(mut from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            to.lock().unwrap().extend_from_slice(&buffer[..n]);
        }
    });
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Key updates as often as data; `K` asks the proxy for one, too, and `k` does not.
#[test]
fn openssl_as_a_client() {
    let pki = Pki::new();
    let broker = tls_upstream::broker(Pki::server(&pki.issue("broker"), None));
    let to_broker = format!("tls: {{ ca: \"{}/ca.pem\" }}", pki.path().display());
    let proxy = Config::of([&broker]).listener(&pki.tls("")).pool(&to_broker).start();
    for (version, option, suite) in SUITES {
        let address = proxy.address().to_string();
        let mut client =
            OpenSsl::start(&["s_client", version, option, suite, "-connect", &address]);
        client.wait(b"---\nNew, ", 1);
        client.send(&connect(4, suite));
        client.wait(CONNACK_V3, 1);
        for n in 1..=5 {
            if version == "-tls1_3" {
                client.send(if n % 2 == 0 { b"K\n" } else { b"k\n" });
                client.wait(b"KEYUPDATE", n);
            }
            let payload = format!("message {n} of {suite}");
            client.send(&publish(payload.as_bytes()));
            client.wait(payload.as_bytes(), 1);
        }
        drop(client);
        let line = proxy.wait_end(suite);
        assert_eq!(line["end_phase"], "relay", "{line}");
        assert!(
            line["tls_cipher"].as_str().unwrap().contains("POLY1305") == suite.contains("POLY1305")
        );
    }
}

#[test]
fn openssl_as_a_broker() {
    let pki = Pki::new();
    pki.write_issued("broker", &pki.issue("broker"));
    let (cert, key) = (pki.path().join("broker.pem"), pki.path().join("broker.key"));
    for (version, option, suite) in SUITES {
        let files = ["-cert", cert.to_str().unwrap(), "-key", key.to_str().unwrap()];
        let args = ["s_server", version, option, suite, "-accept", "127.0.0.1:0"];
        let mut broker = OpenSsl::start(&[&args[..], &files[..]].concat());
        let address = wait_for("an address", || address(&broker));
        let to_broker = format!("tls: {{ ca: \"{}/ca.pem\" }}", pki.path().display());
        let proxy = Config::at([address.to_string()]).pool(&to_broker).start();
        let mut client = Client::open(proxy.address());
        client.send(&connect(4, suite));
        broker.wait(suite.as_bytes(), 1);
        broker.send(CONNACK_V3);
        client.expect(CONNACK_V3);
        for n in 1..=5 {
            if version == "-tls1_3" {
                broker.send(if n % 2 == 0 { b"K\n" } else { b"k\n" });
            }
            let payload = format!("message {n}");
            // OpenSSL reads its input before the connection.
            client.send(&publish(payload.as_bytes()));
            broker.wait(payload.as_bytes(), 1);
            broker.send(&publish(payload.as_bytes()));
            client.expect(&publish(payload.as_bytes()));
        }
    }
}

/// Where `s_server` listens.
fn address(broker: &OpenSsl) -> Option<SocketAddr> {
    let output = String::from_utf8_lossy(&broker.output.lock().unwrap()).into_owned();
    let line = output.lines().find_map(|line| line.strip_prefix("ACCEPT "))?;
    line.parse().ok()
}
