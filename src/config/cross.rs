//! What one part of the file must know of the others: names, and addresses that are taken.

use std::sync::Arc;

use super::{
    Bind,
    fault::quote,
    section::{Item, Read, Reported},
    values,
};

/// The names of one list, in its order.
#[derive(Default)]
pub(super) struct Names {
    /// Entries of the list, whether their names could be read or not.
    pub(super) listed: usize,
    read: Vec<(Arc<str>, usize)>,
}

impl Names {
    /// Reads a name that no other entry of the list has.
    pub(super) fn add(&mut self, item: &Item<'_>) -> Read<Arc<str>> {
        let name = values::name(item)?;
        let earlier = self.read.iter().find(|(other, _)| *other == name).map(|(_, line)| *line);
        self.read.push((Arc::clone(&name), item.node.at.line));
        match earlier {
            Some(line) => {
                let name = quote(&name);
                let message = format!("{name} is taken at line {line}; allowed: a name of its own");
                Err(item.fault(message))
            }
            None => Ok(name),
        }
    }

    /// Reads a reference to one of the names, as the index of its entry. `unreadable` says that
    /// entries have faults, so that a name that is not found may be one of theirs.
    pub(super) fn find(&self, item: &Item<'_>, unreadable: Option<&Reported>) -> Read<usize> {
        let known = self.read.iter().map(|(name, _)| &**name).collect::<Vec<_>>();
        let allowed = known.join(", ");
        let text = item.text(&allowed)?;
        let all_read = self.listed > 0 && self.listed == self.read.len();
        match (known.iter().position(|name| *name == text), unreadable) {
            (Some(index), _) => Ok(index),
            (None, Some(reported)) if !all_read => Err(*reported),
            (None, _) => {
                Err(item.fault(format!("{} is not a pool; allowed: {allowed}", quote(text))))
            }
        }
    }
}

/// The addresses listened on so far.
#[derive(Default)]
pub(super) struct Binds(Vec<(Bind, String)>);

impl Binds {
    /// Reads an address that nothing else listens on.
    pub(super) fn add(&mut self, item: &Item<'_>) -> Read<Bind> {
        let bind = values::bind(item)?;
        let earlier = self.0.iter().find(|(other, _)| overlap(other, &bind));
        let overlapping = earlier.map(|(_, path)| {
            item.fault(format!("overlaps {path}; allowed: an address or port of its own"))
        });
        self.0.push((bind.clone(), item.path.clone()));
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
