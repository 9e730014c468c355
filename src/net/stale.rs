//! Stale files of unix sockets, left by processes that have ended.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

/// Removes a socket file on which no process listens, before a listener is bound to its path. Other
/// files refuse connections too, and are kept.
///
/// # Errors
/// Another process listens there. Other obstacles are reported by bind(2).
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return Ok(());
    }
    let in_use = Err(Errno::ADDRINUSE.into());
    match connect(path) {
        Ok(()) => in_use,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => fs::remove_file(path),
            // The listener's backlog is full.
            ErrorKind::WouldBlock => in_use,
            _ => Ok(()),
        },
    }
}

/// Nonblocking: otherwise it would wait for room in the backlog, with no limit.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn only_stale_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);

        remove_stale(&at("missing")).unwrap();
        fs::write(at("file"), "precious").unwrap();
        remove_stale(&at("file")).unwrap();
        assert!(at("file").exists());

        drop(UnixListener::bind(at("stale")).unwrap());
        remove_stale(&at("stale")).unwrap();
        assert!(!at("stale").exists());

        let in_use = |path: &Path| {
            assert_eq!(remove_stale(path).unwrap_err().kind(), ErrorKind::AddrInUse);
            assert!(path.exists());
        };
        let _listener = UnixListener::bind(at("used")).unwrap();
        in_use(&at("used"));

        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::unix(at("full")).unwrap()).unwrap();
        full.listen(0).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            match client.connect(&SockAddr::unix(at("full")).unwrap()) {
                Ok(()) => waiting.push(client),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        in_use(&at("full"));

        // A datagram socket: bind(2) reports the error.
        let _datagrams = UnixDatagram::bind(at("datagrams")).unwrap();
        remove_stale(&at("datagrams")).unwrap();
        assert!(at("datagrams").exists());
    }
}
