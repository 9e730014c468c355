//! `ketama` places keys exactly as nginx does: a real nginx is asked, key by key.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use mqtt_lb::testing::balance::{Algorithm, Router, WeightedBroker};
use tempfile::TempDir;

/// Weights and every form of name: address and port, `unix:`, and no port.
#[test]
fn keys_are_placed_as_by_nginx() {
    let dir = TempDir::new().unwrap();
    let [front, one, two, five] = free_ports();
    let socket = format!("unix:{}/broker.sock", dir.path().display());
    let servers = [
        Server::new(&format!("127.0.0.1:{one}"), 1),
        Server::new(&format!("127.0.0.1:{two}"), 2),
        Server::new(&socket, 3),
        Server::new(&format!("127.0.0.1:{five}"), 5),
        // Stands for 127.83.0.1:80. It does not matter what answers there, if anything does.
        Server { address: "127.83.0.1:80".to_owned(), ..Server::new("127.83.0.1", 2) },
    ];
    let listens: Vec<_> = servers[..4].iter().map(|s| format!("listen {};", s.name)).collect();
    let _nginx = Nginx::start(dir.path(), front, &servers, &listens.concat());

    let mut client = Client::connect(front);
    let mut router = router(&servers);
    let mut keys_of = [0; 5];
    for i in 0..10_000 {
        let key = format!("client-{i}");
        let picked = router.pick(key.as_bytes(), &|_| Some(0)).unwrap();
        assert_eq!(servers[picked].address, client.tries(&key)[0], "{key}");
        keys_of[picked] += 1;
    }
    assert!(keys_of.iter().all(|&keys| keys > 300), "too few keys to tell: {keys_of:?}");
}

/// All servers refuse connections, so nginx tries one after the other and says in which order.
#[test]
fn keys_of_brokers_that_are_down_move_as_in_nginx() {
    let dir = TempDir::new().unwrap();
    let [front] = free_ports();
    // Port 1 (tcpmux) of a loopback address that nobody uses.
    let servers = [1, 2, 3, 4].map(|i| Server::new(&format!("127.83.0.{i}:1"), 1));
    let _nginx = Nginx::start(dir.path(), front, &servers, "");

    let mut client = Client::connect(front);
    let mut router = router(&servers);
    for i in 0..1_000 {
        let key = format!("client-{i}");
        let mut tried: Vec<usize> = Vec::new();
        for address in client.tries(&key) {
            let sessions = |i| if tried.contains(&i) { None } else { Some(0) };
            let picked = router.pick(key.as_bytes(), &sessions).unwrap();
            assert_eq!(servers[picked].address, address, "{key} after {tried:?}");
            tried.push(picked);
        }
        assert_eq!(tried.len(), servers.len());
    }
}

struct Server {
    /// As in the `server` line, which is the broker's name.
    name: String,
    weight: u32,
    /// As in `$upstream_addr`.
    address: String,
}

impl Server {
    fn new(name: &str, weight: u32) -> Self {
        Self { name: name.to_owned(), weight, address: name.to_owned() }
    }
}

fn router(servers: &[Server]) -> Router {
    let broker = |server: &Server| WeightedBroker {
        name: server.name.as_str().into(),
        weight: NonZeroU32::new(server.weight).unwrap(),
        backup: false,
    };
    Router::new(Algorithm::Ketama, &servers.iter().map(broker).collect::<Vec<_>>())
}

/// All held at once, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A running nginx; dropped, it is killed.
struct Nginx(Child);

impl Nginx {
    /// Starts nginx with a proxy at `front`, which says in a header where it sent a request, and
    /// with the servers that `listens` names.
    fn start(dir: &Path, front: u16, servers: &[Server], listens: &str) -> Self {
        let upstreams: Vec<_> = servers
            .iter()
            // nginx must not eject a server that failed: this is about the order alone.
            .map(|s| format!("server {} weight={} max_fails=0;\n", s.name, s.weight))
            .collect();
        let backend = match listens {
            "" => String::new(),
            _ => format!("server {{ {listens} keepalive_requests 100000; return 204; }}"),
        };
        let temp_paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path temp;\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log crit;
            events {{}}
            http {{
                access_log off; {temp_paths}
                upstream brokers {{ hash $arg_k consistent; {} keepalive 8; }}
                server {{
                    listen 127.0.0.1:{front}; keepalive_requests 100000;
                    location / {{
                        proxy_pass http://brokers;
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_next_upstream error;
                        add_header X-Upstream $upstream_addr always;
                    }}
                }}
                {backend}
            }}",
            upstreams.concat()
        );
        fs::write(dir.join("nginx.conf"), config).unwrap();

        // Debian's place for it is not in everybody's PATH.
        let spawned = ["nginx", "/usr/sbin/nginx"].into_iter().map(|program| {
            let mut command = Command::new(program);
            command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "error.log"]);
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()
        });
        let mut nginx = spawned
            .filter(|child| !matches!(child, Err(error) if error.kind() == ErrorKind::NotFound))
            .map(|child| Self(child.unwrap()))
            .next()
            .expect("nginx is not installed: run tests/run.sh, which installs what tests need");

        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, front)).is_err() {
            let ended = nginx.0.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "nginx does not listen: {ended:?} {}",
                fs::read_to_string(dir.join("error.log")).unwrap_or_default()
            );
            sleep(Duration::from_millis(10));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One HTTP connection, kept alive: 10,000 requests then take a second or two.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// The addresses that nginx tried for `key`, in order.
    fn tries(&mut self, key: &str) -> Vec<String> {
        write!(self.0.get_mut(), "GET /?k={key} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let (mut tries, mut body) = (None, 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "nginx closed the connection");
            match line.trim_end().split_once(": ") {
                Some(("X-Upstream", list)) => {
                    tries = Some(list.split(", ").map(str::to_owned).collect());
                }
                Some(("Content-Length", length)) => body = length.parse().unwrap(),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        std::io::Read::read_exact(&mut self.0, &mut vec![0; body]).unwrap();
        tries.expect("the answer has the header")
    }
}
