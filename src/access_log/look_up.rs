//! A host's addresses, looked up on a thread of its own: the system's resolver knows no deadline.

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

/// One look-up at a time.
pub(super) struct LookUp {
    resolve: Arc<Resolve>,
    /// One that was not over in time. It is waited for rather than joined by another, so that a
    /// resolver that hangs has one thread.
    under_way: Option<Receiver<Found>>,
}

type Found = io::Result<Vec<SocketAddr>>;
type Resolve = dyn Fn(&str) -> Found + Send + Sync;

impl LookUp {
    /// Asks the system: its hosts file, its name servers.
    pub(super) fn new() -> Self {
        Self::by(Arc::new(|host| Ok(host.to_socket_addrs()?.collect())))
    }

    fn by(resolve: Arc<Resolve>) -> Self {
        Self { resolve, under_way: None }
    }

    /// The addresses of `host`, a name or an address with its port.
    pub(super) fn addresses(&mut self, host: &str, patience: Duration) -> Found {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let under_way = match self.under_way.take() {
            Some(under_way) => under_way,
            None => self.begin(host.to_owned())?,
        };
        match under_way.recv_timeout(patience) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => {
                self.under_way = Some(under_way);
                Err(io::Error::new(ErrorKind::TimedOut, "its host is still being looked up"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the look-up has failed")),
        }
    }

    fn begin(&self, host: String) -> io::Result<Receiver<Found>> {
        let (tell, found) = channel();
        let resolve = self.resolve.clone();
        thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            // Nobody listens any more once the log has gone.
            let _ = tell.send(resolve(&host));
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

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_address_is_its_own() {
        let never = LookUp::by(Arc::new(|host| panic!("{host} is looked up")));
        for address in ["127.0.0.1:514", "[::1]:601"] {
            let mut look_up = LookUp { under_way: None, resolve: never.resolve.clone() };
            let found = look_up.addresses(address, PATIENCE).unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
    }

    #[test]
    fn a_resolver_that_hangs_is_asked_once_and_its_answer_is_taken() {
        let (answer, answers) = channel::<()>();
        let answers = Mutex::new(answers);
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let mut look_up = LookUp::by(Arc::new(move |host| {
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
        let found = look_up.addresses("receiver.example:601", PATIENCE).unwrap();
        assert_eq!(found, ["192.0.2.7:601".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // The next failure of the connection asks for what is true then.
        drop(answer);
        assert_eq!(look_up.addresses("receiver.example:601", PATIENCE).unwrap(), found);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_system_knows_this_host() {
        let found = LookUp::new().addresses("localhost:514", PATIENCE).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 514));
        assert!(!found.is_empty());
    }
}
