//! The load generator: MQTT clients in one thread, one scenario a run.
//!
//! It talks to its caller in lines, so that the proxy can be measured exactly around the timed part:
//! it prints `ready`, waits for a line, runs, prints the result as JSON, waits for a line, closes all and ends.

mod clients;
mod connect;
mod flood;
mod idle;
mod pings;
mod result;
mod round_trips;
mod scrape;
mod stream;
mod tls;
mod transport;
mod websocket;

use std::{
    io::{self, BufRead},
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use mqtt_lb_bench::{args::Args, sys};

use crate::{tls::KeyExchange, transport::Transport};

const USAGE: &str = "\
MQTT clients in one thread.

load SCENARIO --target ADDRESS [options]

scenarios:
  connect       connect, CONNECT, CONNACK, close: --clients at a time, --total in all
  round-trips   --clients connected, each has one QoS 1 PUBLISH under way for --seconds
  stream        --clients connected, each sends QoS 0 messages of --size for --seconds
  pings         --clients connected, one of them has a PINGREQ under way, one every 2 ms for --seconds
  idle          --clients connected; opens and closes all of them, a line each
  scrape        --clients ask --path of the admin listener at once, again and again until there are --total answers

options:
  --clients N   (100)
  --total N     (10000)
  --seconds S   (3)
  --size BYTES  of a payload (64)
  --level L     protocol level, 4 or 5 (4)
  --sources N   spread the clients over 127.0.0.2 to 127.0.0.N+1, where ports run short (0: do not bind)
  --tls FILE    TLS 1.3 to a proxy that has this certificate (PEM)
  --key-exchange NAME  of TLS: x25519, p256, x25519mlkem768 (x25519)
  --identity FILE  the clients' certificate and key (PEM), for mutual TLS
  --resume      present a ticket of an earlier connection, but not while warming up: for connect
  --websocket PATH  MQTT in WebSocket frames; not for stream
  --path PATH   what a scrape asks for (/metrics)
  --flood RATE  meanwhile, RATE CONNECTs a second from 1,000 addresses (127.1.x.y), for pings (0: none)
  --flood-target ADDRESS  where the flood goes, if not to the target
  --fresh       a connection for each request, which counts: for scrape

It prints `ready`, runs at the first line on standard input, prints its result as JSON and ends at the next.";

struct Options {
    target: SocketAddrV4,
    clients: usize,
    total: usize,
    seconds: Duration,
    size: usize,
    level: u8,
    sources: u8,
    transport: Transport,
    path: String,
    fresh: bool,
    flood: u32,
    flood_target: SocketAddrV4,
}

fn main() -> io::Result<()> {
    let mut args = Args::parse(USAGE);
    let scenario = args.command();
    let target = args.required("--target");
    let options = Options {
        target,
        flood_target: args.value("--flood-target", target),
        clients: args.value("--clients", 100),
        total: args.value("--total", 10_000),
        seconds: Duration::from_secs_f64(args.value("--seconds", 3.0)),
        size: args.value("--size", 64),
        level: args.value("--level", 4),
        sources: args.value("--sources", 0),
        transport: transport(&mut args)?,
        path: args.value("--path", "/metrics".to_owned()),
        fresh: args.flag("--fresh"),
        flood: args.value("--flood", 0),
    };
    let run = match scenario.as_str() {
        "connect" => connect::run,
        "round-trips" => round_trips::run,
        "stream" => stream::run,
        "pings" => pings::run,
        "idle" => idle::run,
        "scrape" => scrape::run,
        other => args.fail(&format!("unknown scenario {other}")),
    };
    args.finish();

    sys::raise_descriptor_limit()?;
    run(&options)
}

fn transport(args: &mut Args) -> io::Result<Transport> {
    let exchange = args.value("--key-exchange", KeyExchange::X25519);
    let resumes = args.flag("--resume");
    let certificate: Option<PathBuf> = args.all("--tls").pop();
    let identity: Option<PathBuf> = args.all("--identity").pop();
    let path: Option<String> = args.all("--websocket").pop();
    match (certificate, path) {
        (None, None) => Ok(Transport::Tcp),
        (Some(certificate), None) => {
            let connector =
                tls::Connector::new(&certificate, exchange, resumes, identity.as_deref());
            connector.map(Transport::Tls)
        }
        (None, Some(path)) => Ok(Transport::WebSocket(websocket::Connector::new(&path))),
        (Some(_), Some(_)) => args.fail("--tls and --websocket exclude each other"),
    }
}

impl Options {
    /// The local address of a client; `None` leaves it to the kernel.
    fn source(&self, client: usize) -> Option<SocketAddrV4> {
        let last = 2 + (client % usize::from(self.sources.max(1))) as u8;
        (self.sources > 0).then(|| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0))
    }
}

/// Prints a word and waits for a line; tells whether one came.
fn say_and_wait(word: &str) -> io::Result<bool> {
    println!("{word}");
    Ok(io::stdin().lock().read_line(&mut String::new())? > 0)
}
