//! Looks up a host's addresses on a separate thread, because the system's resolver has no
//! timeout.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

/// Runs one look-up at a time.
pub(super) struct HostLookUp {
    resolve: Arc<Resolve>,
    /// A look-up that timed out. The next call waits for it instead of starting another, so that a
    /// hanging resolver holds only one thread.
    pending: Option<Receiver<LookUpResult>>,
}

type LookUpResult = io::Result<Vec<SocketAddr>>;
type Resolve = dyn Fn(&str) -> LookUpResult + Send + Sync;

impl HostLookUp {
    /// Uses the system's resolver: its hosts file and name servers.
    pub(super) fn new() -> Self {
        Self::with_resolver(Arc::new(|host| Ok(host.to_socket_addrs()?.collect())))
    }

    fn with_resolver(resolve: Arc<Resolve>) -> Self {
        Self { resolve, pending: None }
    }

    /// The addresses of `host`, which is a name or an address, with its port.
    pub(super) fn addresses(&mut self, host: &str, timeout: Duration) -> LookUpResult {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => self.start(host.to_owned())?,
        };
        match pending.recv_timeout(timeout) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => {
                self.pending = Some(pending);
                Err(io::Error::new(ErrorKind::TimedOut, "the look-up of its host timed out"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the look-up failed")),
        }
    }

    fn start(&self, host: String) -> io::Result<Receiver<LookUpResult>> {
        let (sender, found) = channel();
        let resolve = self.resolve.clone();
        thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            // Fails if the log has been removed meanwhile.
            let _ = sender.send(resolve(&host));
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const TEST_TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn an_address_needs_no_look_up() {
        let never = HostLookUp::with_resolver(Arc::new(|host| panic!("{host} is looked up")));
        for address in ["127.0.0.1:514", "[::1]:601"] {
            let mut look_up = HostLookUp { pending: None, resolve: never.resolve.clone() };
            let found = look_up.addresses(address, TEST_TIMEOUT).unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
    }

    #[test]
    fn a_hanging_resolver_is_asked_once_and_its_answer_is_used() {
        let (answer, answers) = channel::<()>();
        let answers = Mutex::new(answers);
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let mut look_up = HostLookUp::with_resolver(Arc::new(move |host| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = answers.lock().unwrap().recv();
            assert_eq!(host, "receiver.example:601");
            Ok(vec!["192.0.2.7:601".parse().unwrap()])
        }));
        for _ in 0..3 {
            let late = look_up.addresses("receiver.example:601", Duration::from_millis(5));
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        answer.send(()).unwrap();
        let found = look_up.addresses("receiver.example:601", TEST_TIMEOUT).unwrap();
        assert_eq!(found, ["192.0.2.7:601".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // The next call starts a new look-up.
        drop(answer);
        assert_eq!(look_up.addresses("receiver.example:601", TEST_TIMEOUT).unwrap(), found);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_system_resolver_knows_localhost() {
        let found = HostLookUp::new().addresses("localhost:514", TEST_TIMEOUT).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 514));
        assert!(!found.is_empty());
    }
}
