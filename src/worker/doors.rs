//! A worker's listeners, which come, go and lead elsewhere with each reload.

use std::{cell::RefCell, collections::HashMap, io, os::fd::OwnedFd, rc::Rc};

use tokio::task::{JoinHandle, spawn_local};

use super::Adopting;
use crate::{
    listener::{self, Door},
    session::{Entry, Origin, Shard},
    snapshot::{Entrance, Snapshot},
    transport::Acceptor,
};

/// The listeners of a worker.
#[derive(Default)]
pub(super) struct Doors {
    /// Those that are open, by their [`Entrance::id`].
    open: HashMap<u64, Open>,
    /// Those where the last clients are being accepted.
    closing: Vec<JoinHandle<()>>,
}

struct Open {
    door: Rc<Door>,
    accepting: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Doors {
    /// Opens and closes what has to be, and has all that is open lead where the snapshot says.
    /// `adopting` is held until what has to be closed is.
    pub(super) fn adopt(
        &mut self,
        shard: &Rc<Shard>,
        snapshot: &Snapshot,
        sockets: Vec<(u64, OwnedFd)>,
        adopting: &Adopting,
    ) {
        let mut sockets: HashMap<_, _> = sockets.into_iter().collect();
        let mut before = std::mem::take(&mut self.open);
        for entrance in &snapshot.entrances {
            let known = before.remove(&entrance.id);
            let origin = known.as_ref().map(|open| open.door.entry.borrow().origin.clone());
            let Some(entry) = entry(shard, entrance, origin) else { continue };
            let open = match (known, sockets.remove(&entrance.id)) {
                (Some(open), _) => {
                    open.door.entry.replace(entry);
                    open.door.acceptor.set_options(shard.tcp_options());
                    open
                }
                (None, Some(socket)) => match open(shard, entry, socket) {
                    Ok(open) => open,
                    Err(error) => {
                        tracing::error!(listener = %entrance.name, %error, "cannot accept there");
                        continue;
                    }
                },
                (None, None) => continue,
            };
            self.open.insert(entrance.id, open);
        }
        self.closing.retain(|closing| !closing.is_finished());
        for open in before.into_values() {
            self.close_one(shard, &open, Some(adopting.clone()));
        }
    }

    /// Closes all of them, each when those who wait there have been accepted.
    pub(super) fn close(&mut self, shard: &Rc<Shard>) {
        for open in std::mem::take(&mut self.open).into_values() {
            self.close_one(shard, &open, None);
        }
    }

    /// Whether nobody will be accepted any more.
    pub(super) fn are_closed(&self) -> bool {
        self.open.is_empty() && self.closing.iter().all(JoinHandle::is_finished)
    }

    fn close_one(&mut self, shard: &Rc<Shard>, open: &Open, adopting: Option<Adopting>) {
        let close = listener::close(shard.clone(), open.door.clone());
        self.closing.push(spawn_local(async move {
            close.await;
            drop(adopting);
        }));
    }
}

fn open(shard: &Rc<Shard>, entry: Rc<Entry>, socket: OwnedFd) -> io::Result<Open> {
    let acceptor = Acceptor::new(&shard.reactor, socket)?;
    let door = Rc::new(Door { acceptor, entry: RefCell::new(entry) });
    let accepting = spawn_local(listener::accept(shard.clone(), door.clone()));
    Ok(Open { door, accepting })
}

/// `before` serves on where nothing has changed, as sessions hold on to it.
fn entry(shard: &Shard, entrance: &Entrance, before: Option<Rc<Origin>>) -> Option<Rc<Entry>> {
    let pool = shard.pool(entrance.pool)?;
    let is_same = |origin: &Rc<Origin>| {
        origin.name == entrance.name
            && origin.transport == entrance.transport
            && Rc::ptr_eq(&origin.pool, &pool)
    };
    let origin = before.filter(is_same).unwrap_or_else(|| {
        Rc::new(Origin {
            name: entrance.name.clone(),
            transport: entrance.transport,
            pool: pool.clone(),
            metrics: entrance.metrics.clone(),
        })
    });
    Some(Rc::new(Entry { origin, arrival: entrance.arrival.clone() }))
}
