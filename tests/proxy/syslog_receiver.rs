//! A syslog receiver for tests, strict about RFC 5424 and its transports, that stops and returns.

use std::{
    fs,
    io::Read,
    net::{Shutdown, SocketAddr, TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use socket2::{Domain, SockRef, Socket, Type};

/// Loopback addresses of our own, so that nobody's outgoing connection takes the port meanwhile.
const HOST: &str = "127.0.0.85";

/// One message, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) priority: u8,
    pub(crate) time: String,
    pub(crate) host: String,
    pub(crate) app_name: String,
    pub(crate) process: String,
    pub(crate) id: String,
    pub(crate) text: String,
}

/// Reads one message: RFC 5424, section 6, without structured data.
#[track_caller]
pub(crate) fn parse(bytes: &[u8]) -> Message {
    let message = std::str::from_utf8(bytes).unwrap();
    let (priority, rest) = message.strip_prefix('<').unwrap().split_once('>').unwrap();
    let number: u8 = priority.parse().unwrap();
    // 23 facilities of 8 severities, without leading zeros.
    assert!(number <= 191 && number.to_string() == priority, "{message}");
    let parts: Vec<_> = rest.splitn(8, ' ').collect();
    let [version, time, host, app_name, process, id, data, text] = parts[..] else {
        panic!("{message}");
    };
    assert_eq!((version, data), ("1", "-"), "{message}");
    // RFC 3339 in UTC with milliseconds; RFC 5424 allows up to six digits.
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{message}");
    for (part, longest) in [(host, 255), (app_name, 48), (process, 128), (id, 32)] {
        let printable = part.bytes().all(|byte| byte.is_ascii_graphic());
        assert!((1..=longest).contains(&part.len()) && printable, "{part:?} of {message}");
    }
    assert!(!text.is_empty() && !text.contains(char::is_control), "{message:?}");
    let owned = |part: &str| part.to_owned();
    Message {
        priority: number,
        time: owned(time),
        host: owned(host),
        app_name: owned(app_name),
        process: owned(process),
        id: owned(id),
        text: owned(text),
    }
}

/// Takes counted messages off a stream (RFC 6587, 3.4.1); returns what is not whole yet.
fn take_counted<'a>(mut stream: &'a [u8], messages: &mut Vec<Message>) -> &'a [u8] {
    loop {
        let Some(space) = stream.iter().position(|&byte| byte == b' ') else {
            assert!(stream.len() < 7 && stream.iter().all(u8::is_ascii_digit), "{stream:?}");
            return stream;
        };
        let length = std::str::from_utf8(&stream[..space]).unwrap();
        assert!(!length.starts_with('0') && length.bytes().all(|b| b.is_ascii_digit()), "{length}");
        let end = space + 1 + length.parse::<usize>().unwrap();
        let Some(message) = stream.get(space + 1..end) else { return stream };
        messages.push(parse(message));
        stream = &stream[end..];
    }
}

/// Takes lines off a stream (RFC 6587, 3.4.2); returns what is not whole yet.
fn take_lines<'a>(mut stream: &'a [u8], messages: &mut Vec<Message>) -> &'a [u8] {
    while let Some(end) = stream.iter().position(|&byte| byte == b'\n') {
        messages.push(parse(&stream[..end]));
        stream = &stream[end + 1..];
    }
    stream
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    UnixDatagrams,
    UnixStream,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::UnixDatagrams, Self::UnixStream];
}

/// A receiver at an address of its own, which it keeps while it is stopped.
pub(crate) struct Receiver {
    kind: Kind,
    address: SocketAddr,
    path: PathBuf,
    /// Holds the TCP port while nobody listens there.
    _place: Socket,
    messages: Arc<Mutex<Vec<Message>>>,
    running: Option<Running>,
}

struct Running {
    /// Ends what waits in its sockets.
    stop: Box<dyn FnOnce() + Send>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Receiver {
    /// One that is stopped; unix sockets are in `folder`.
    pub(crate) fn new(kind: Kind, folder: &Path) -> Self {
        let any: SocketAddr = format!("{HOST}:0").parse().unwrap();
        let place = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        place.set_reuse_address(true).unwrap();
        place.bind(&any.into()).unwrap();
        let address = place.local_addr().unwrap().as_socket().unwrap();
        let path = folder.join("syslog.sock");
        let messages = Arc::default();
        Self { kind, address, path, _place: place, messages, running: None }
    }

    /// What the configuration calls it.
    pub(crate) fn name(&self) -> String {
        match self.kind {
            Kind::Tcp => format!("tcp://{}", self.address),
            Kind::Udp => format!("udp://{}", self.address),
            Kind::UnixDatagrams | Kind::UnixStream => format!("unix:{}", self.path.display()),
        }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    pub(crate) fn start(&mut self) {
        let messages = self.messages.clone();
        self.running = Some(match self.kind {
            Kind::Tcp => {
                let listener = TcpListener::bind(self.address).unwrap();
                let socket = Socket::from(listener.try_clone().unwrap());
                let accept = move || listener.accept().map(|(link, _)| Socket::from(link));
                streams(socket, accept, messages, take_counted)
            }
            Kind::UnixStream => {
                let listener = UnixListener::bind(&self.path).unwrap();
                let socket = Socket::from(listener.try_clone().unwrap());
                let accept = move || listener.accept().map(|(link, _)| Socket::from(link));
                streams(socket, accept, messages, take_lines)
            }
            Kind::Udp => {
                let socket = UdpSocket::bind(self.address).unwrap();
                // A burst is to be lost nowhere but on the way.
                SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
                datagrams(socket.into(), messages)
            }
            Kind::UnixDatagrams => {
                datagrams(UnixDatagram::bind(&self.path).unwrap().into(), messages)
            }
        });
    }

    /// Closes everything, as a daemon that is stopped does.
    pub(crate) fn stop(&mut self) {
        if let Some(Running { stop, threads }) = self.running.take() {
            stop();
            for thread in threads {
                thread.join().unwrap();
            }
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

fn streams(
    listener: Socket,
    accept: impl Fn() -> std::io::Result<Socket> + Send + 'static,
    messages: Arc<Mutex<Vec<Message>>>,
    take: for<'a> fn(&'a [u8], &mut Vec<Message>) -> &'a [u8],
) -> Running {
    let links = Arc::<Mutex<Vec<Socket>>>::default();
    let opened = links.clone();
    let accepting = thread::spawn(move || {
        let mut readers = Vec::new();
        while let Ok(link) = accept() {
            opened.lock().unwrap().push(link.try_clone().unwrap());
            let messages = messages.clone();
            readers.push(thread::spawn(move || read_stream(link, &messages, take)));
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
    let stop = Box::new(move || {
        // Ends `accept` and every `read`.
        let _ = listener.shutdown(Shutdown::Both);
        for link in &*links.lock().unwrap() {
            let _ = link.shutdown(Shutdown::Both);
        }
    });
    Running { stop, threads: vec![accepting] }
}

fn read_stream(
    mut link: Socket,
    messages: &Mutex<Vec<Message>>,
    take: for<'a> fn(&'a [u8], &mut Vec<Message>) -> &'a [u8],
) {
    let mut stream = Vec::new();
    let mut read = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = link.read(&mut read) {
        stream.extend_from_slice(&read[..count]);
        let mut taken = Vec::new();
        let left = take(&stream, &mut taken).len();
        stream.drain(..stream.len() - left);
        messages.lock().unwrap().extend(taken);
    }
}

fn datagrams(mut socket: Socket, messages: Arc<Mutex<Vec<Message>>>) -> Running {
    let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (told, waiting) = (stopped.clone(), socket.try_clone().unwrap());
    let reading = thread::spawn(move || {
        let mut datagram = vec![0; 128 * 1024];
        while let Ok(count) = socket.read(&mut datagram) {
            if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            messages.lock().unwrap().push(parse(&datagram[..count]));
        }
    });
    let stop = Box::new(move || {
        told.store(true, std::sync::atomic::Ordering::Relaxed);
        // Not connected, it says; a blocked reader is woken all the same.
        let _ = waiting.shutdown(Shutdown::Both);
    });
    Running { stop, threads: vec![reading] }
}

/// The whole messages of a counted stream, and the bytes that are left.
pub(crate) fn counted(stream: &[u8]) -> (Vec<Message>, usize) {
    let mut messages = Vec::new();
    let left = take_counted(stream, &mut messages).len();
    (messages, left)
}
