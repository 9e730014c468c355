//! Addresses that are listened on.

use super::{Checker, Valid};
use crate::config::{Address, Bind, at::At};

/// The addresses listened on so far, with the paths of their keys.
#[derive(Default)]
pub(in crate::config) struct Binds(Vec<(Bind, String)>);

impl Binds {
    /// An address that nothing else listens on.
    pub(super) fn add(&mut self, checker: &Checker<'_>, raw: &At<Bind>) -> Valid<Bind> {
        let at = raw.place();
        let bind = match raw.get()? {
            Bind::Unix(path) => {
                let path = checker.socket_path(&at, path)?;
                checker.needs_folder(&at, &path)?;
                Bind::Unix(path)
            }
            tcp @ Bind::Tcp(_) => tcp.clone(),
        };
        let earlier = self.0.iter().find(|(other, _)| overlap(other, &bind));
        let overlapping = earlier.map(|(_, path)| {
            checker.wrong(&at, format!("overlaps {path}"), "an address or port of its own")
        });
        self.0.push((bind.clone(), at.path));
        overlapping.map_or(Ok(bind), Err)
    }
}

/// Whether both cannot be listened on. IPv6 sockets are IPv6 only, so the families never meet;
/// port 0 is a different port each time.
fn overlap(a: &Bind, b: &Bind) -> bool {
    match (a, b) {
        (Bind::Tcp(a), Bind::Tcp(b)) => {
            let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && same_host
        }
        (Bind::Unix(a), Bind::Unix(b)) => a == b,
        _ => false,
    }
}

/// A broker's address, the path of a socket made absolute.
pub(super) fn broker_address(checker: &Checker<'_>, raw: &At<Address>) -> Valid<Address> {
    match raw.get()? {
        Address::Unix(path) => checker.socket_path(&raw.place(), path).map(Address::Unix),
        address => Ok(address.clone()),
    }
}
