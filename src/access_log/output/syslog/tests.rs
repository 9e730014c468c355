//! Receivers in every state: up, gone, closed, or not reading.

use std::{
    io::Read,
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    time::Instant,
};

use super::*;

const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

/// Writes all lines; panics on any failure.
fn write_all(peer: &mut SyslogReceiver, lines: &[u8]) {
    let (mut done, mut partial) = (0, 0);
    while done < lines.len() {
        done += peer.write(&lines[done..], &mut partial, TEST_TIMEOUT).unwrap();
    }
    assert_eq!((done, partial), (lines.len(), 0));
}

fn tcp(listener: &TcpListener) -> SyslogReceiver {
    SyslogReceiver::new(SyslogAddress::Tcp(listener.local_addr().unwrap().to_string().into()))
}

#[test]
fn octets_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = tcp(&listener);
    // The second has two characters and three bytes.
    write_all(&mut peer, "one\né!\n\nfour\n".as_bytes());
    let (mut receiver, _) = listener.accept().unwrap();
    drop(peer);
    let mut text = String::new();
    receiver.read_to_string(&mut text).unwrap();
    assert_eq!(text, "3 one3 é!0 4 four");
}

/// Writes more than the kernel buffers to a receiver that reads late: frames continue where they
/// stopped.
#[test]
fn a_partly_sent_frame_is_completed_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = tcp(&listener);
    let line = [vec![b'x'; 99_999], b"\n".to_vec()].concat();
    let lines = line.repeat(100);
    let (mut done, mut partial, mut stops) = (0, 0, 0);
    let mut reading = None;
    while done < lines.len() {
        match peer.write(&lines[done..], &mut partial, SHORT_TIMEOUT) {
            Ok(whole) => done += whole,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert!(partial < 6 + 99_999);
                stops += 1;
                // The receiver begins to read only now.
                reading.get_or_insert_with(|| {
                    let (mut receiver, _) = listener.accept().unwrap();
                    std::thread::spawn(move || {
                        let mut bytes = Vec::new();
                        receiver.read_to_end(&mut bytes).unwrap();
                        bytes
                    })
                });
            }
        }
    }
    assert!(stops > 0);
    drop(peer);
    let frame = [b"99999 ".to_vec(), vec![b'x'; 99_999]].concat();
    assert!(reading.unwrap().join().unwrap() == frame.repeat(100));
}

#[test]
fn a_closed_receiver_is_detected_before_a_line_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = tcp(&listener);
    write_all(&mut peer, b"one\n");
    let (mut receiver, _) = listener.accept().unwrap();
    let mut five = [0; 5];
    receiver.read_exact(&mut five).unwrap();
    drop(receiver);
    let give_up_at = Instant::now() + TEST_TIMEOUT;
    while check_closed(&peer.connection.as_ref().unwrap().socket).is_ok() {
        assert!(Instant::now() < give_up_at, "the end of the stream does not arrive");
    }
    let error = peer.write(b"two\n", &mut 0, TEST_TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    write_all(&mut peer, b"two\n");
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.read_exact(&mut five).unwrap();
    assert_eq!(&five, b"3 two");
}

#[test]
fn one_datagram_per_message() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = SyslogAddress::Udp(receiver.local_addr().unwrap().to_string().into());
    let mut peer = SyslogReceiver::new(to);
    // Too long for a datagram; a cut by bytes would split a character.
    let long = format!("a{}", "é".repeat(40_000));
    write_all(&mut peer, format!("one\n{long}\nthree\n").as_bytes());
    let mut datagram = vec![0; 70_000];
    let mut next = || {
        let count = receiver.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..count].to_vec()).unwrap()
    };
    assert_eq!(next(), "one");
    assert_eq!(next(), long[..65_507]);
    assert_eq!(next(), "three");
}

#[test]
fn a_datagram_without_a_receiver_is_sent_again() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = receiver.local_addr().unwrap();
    let mut peer = SyslogReceiver::new(SyslogAddress::Udp(address.to_string().into()));
    drop(receiver);
    let mut partial = 0;
    let error = peer.write(b"one\n", &mut partial, TEST_TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let receiver = UdpSocket::bind(address).unwrap();
    write_all(&mut peer, b"one\n");
    let mut datagram = [0; 16];
    assert_eq!(receiver.recv(&mut datagram).unwrap(), 3);
}

#[test]
fn a_datagram_socket_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut peer = SyslogReceiver::new(SyslogAddress::Unix(path.clone()));
    let mut partial = 0;
    let error = peer.write(b"one\n", &mut partial, TEST_TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let mut datagram = vec![0; 300_000];
    for text in ["one", "two"] {
        let receiver = UnixDatagram::bind(&path).unwrap();
        write_all(&mut peer, format!("{text}\n").as_bytes());
        assert_eq!(receiver.recv(&mut datagram).unwrap(), 3);
        assert_eq!(&datagram[..3], text.as_bytes());
        drop(receiver);
        let error = peer.write(b"lost\n", &mut partial, TEST_TIMEOUT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        std::fs::remove_file(&path).unwrap();
    }
}

/// Without a reader the socket's queue fills up, and the write times out.
#[test]
fn an_unread_socket_does_not_block_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut peer = SyslogReceiver::new(SyslogAddress::Unix(path));
    let mut partial = 0;
    let mut sent = 0;
    let error = loop {
        match peer.write(b"line\n", &mut partial, SHORT_TIMEOUT) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let mut datagram = [0; 16];
    for _ in 0..sent {
        assert_eq!(receiver.recv(&mut datagram).unwrap(), 4);
    }
    write_all(&mut peer, b"again\n");
    assert_eq!(receiver.recv(&mut datagram).unwrap(), 5);
}

#[test]
fn a_stream_socket_gets_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let listener = UnixListener::bind(&path).unwrap();
    let mut peer = SyslogReceiver::new(SyslogAddress::Unix(path));
    write_all(&mut peer, b"one\ntwo\n");
    let (mut receiver, _) = listener.accept().unwrap();
    drop(peer);
    let mut text = String::new();
    receiver.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn texts_are_truncated_between_characters() {
    assert_eq!(truncate("aéb".as_bytes(), 4), "aéb".as_bytes());
    assert_eq!(truncate("aéb".as_bytes(), 3), "aé".as_bytes());
    assert_eq!(truncate("aéb".as_bytes(), 2), "a".as_bytes());
    assert_eq!(truncate("aéb".as_bytes(), 1), "a".as_bytes());
}
