//! What a side is sent last reaches it, although the other side has gone, or the session is ended
//! while there is unread data.

use std::{
    io::{self, Read, Write},
    sync::{
        Mutex,
        mpsc::{self, Receiver, channel},
    },
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    broker::{Broker, Link},
    client::{CONNACK_V5, Client, DISCONNECT, connack, connect, publish},
    config::Config,
    harness::{PATIENCE, end},
};

/// All that a broker read after the CONNECT, and how the stream ended.
type Heard = (Vec<u8>, Result<(), io::ErrorKind>);

fn read_rest(link: &mut Link) -> Heard {
    let mut rest = Vec::new();
    // A reset behind the end of the stream is reported only here.
    if let Some(error) = link.stream.take_error().unwrap() {
        return (rest, Err(error.kind()));
    }
    let ended = link.stream.read_to_end(&mut rest).map(drop).map_err(|error| error.kind());
    (rest, ended)
}

/// Accepts the client, writes to it, and reads once it is told to.
fn broker_that_reads_late(written: &'static [u8]) -> (Broker, mpsc::Sender<()>, Receiver<Heard>) {
    let (go, wait) = channel::<()>();
    let (said, heard) = channel();
    let wait = Mutex::new(wait);
    let broker = Broker::start(move |mut link| {
        link.accept();
        link.send(written);
        wait.lock().unwrap().recv().unwrap();
        let _ = said.send(read_rest(&mut link));
    });
    (broker, go, heard)
}

/// A client that closes its socket with unread data resets the connection, after its DISCONNECT.
/// The broker would publish the will if the reset discarded the DISCONNECT.
#[test]
fn a_disconnect_before_a_reset() {
    let (broker, go, heard) = broker_that_reads_late(b"");
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "device");
    let last = [&publish(b"last")[..], DISCONNECT].concat();
    client.send(&last);
    client.reset();
    assert_eq!(end(&proxy.wait_end("device")), "client/relay/reset");
    go.send(()).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (last, Ok(())));
}

/// A client that publishes and closes without a DISCONNECT, and answers what the broker still sends
/// with a reset.
#[test]
fn a_message_before_a_reset_that_answers_the_broker() {
    let (said, heard) = channel();
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let broker = Broker::start(move |mut link| {
        link.accept();
        let mut message = vec![0; publish(b"last").len()];
        link.stream.read_exact(&mut message).unwrap();
        // The end has been passed on before the broker sends anything; it is read last.
        assert_eq!(link.stream.peek(&mut [0]).unwrap(), 0);
        // The client's reset answers the first, and a later one meets the reset.
        let wait = wait.lock().unwrap();
        while wait.recv_timeout(Duration::from_millis(10)).is_err() {
            link.send(b"\xD0\x00");
        }
        let _ = said.send(read_rest(&mut link));
    });
    let proxy = Config::of([&broker]).start();
    let mut client = Client::session(proxy.address(), "device");
    client.send(&publish(b"last"));
    drop(client);
    assert_eq!(end(&proxy.wait_end("device")), "client/relay/reset");
    go.send(()).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (vec![], Ok(())));
}

/// A broker that closes with unread data: the reason of its DISCONNECT, and its refusal.
#[test]
fn the_words_of_a_broker_before_its_reset() {
    const TAKEN_OVER: &[u8] = b"\xE0\x02\x8E\x00";
    let broker = Broker::start(|mut link| {
        let Some(connect) = link.read_packet() else { return };
        if connect.ends_with(b"refused") {
            link.send(&connack(5, 0x87));
            // The relay has begun when the client's next packet arrives.
            let _ = link.read_packet();
        } else {
            link.send(CONNACK_V5);
            let _ = link.read_packet();
            link.send(TAKEN_OVER);
        }
        link.reset();
    });
    let proxy = Config::of([&broker]).start();
    let mut told = Client::exchange(proxy.address(), &connect(5, "told"), CONNACK_V5);
    told.send(b"\xC0\x00");
    assert_eq!(told.rest(), (TAKEN_OVER.to_vec(), Ok(())));
    assert_eq!(end(&proxy.wait_end("told")), "upstream/relay/reset");

    let refused = connack(5, 0x87);
    let mut client = Client::exchange(proxy.address(), &connect(5, "refused"), &refused);
    client.send(b"\xC0\x00");
    client.expect_end();
    assert_eq!(end(&proxy.wait_end("refused")), "upstream/connack/refused");
}

/// The proxy ends a session whose client has sent more than the broker takes: the client is told
/// why, and the broker gets everything that was passed on.
#[test]
fn a_session_that_is_ended_with_unread_data() {
    let (broker, go, heard) = broker_that_reads_late(b"");
    let proxy = Config::of([&broker]).more("drain: { timeout: 100ms }").start();
    let mut client = Client::exchange(proxy.address(), &connect(5, "device"), CONNACK_V5);
    client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let block = vec![b'x'; 1 << 20];
    // 100 MiB are more than all buffers on the way hold.
    assert!((0..100).any(|_| client.stream.write_all(&block).is_err()));
    proxy.signal(Signal::TERM);
    assert_eq!(client.rest(), (b"\xE0\x01\x8B".to_vec(), Ok(())));
    drop(client);
    let line = proxy.wait_end("device");
    assert_eq!(end(&line), "proxy/relay/drain");
    go.send(()).unwrap();
    let (read, ended) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ended, Ok(()));
    let passed = line["bytes_in"].as_u64().unwrap() as usize - connect(5, "device").len();
    assert_eq!(read.len(), passed);
}
