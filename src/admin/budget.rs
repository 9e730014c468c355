//! Memory for answers, of all connections together.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What answers take at most until their readers have taken them. One that is larger, such as the
/// metrics of tens of thousands of brokers, needs all of it.
const BYTES: usize = 64 << 20;

/// Room for one part of an answer that is made as it is read.
pub(super) const PART: usize = 2 << 20;

/// For room, before a request is refused or an answer breaks off.
const PATIENCE: Duration = Duration::from_secs(2);

/// There is no room.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many answers wait for their readers; ask again")]
pub(super) struct Full;

/// Cloning it shares the memory.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// Room for a part of an answer.
pub(super) struct Room(OwnedSemaphorePermit);

/// Bytes that give their room back when the last of them is gone.
struct Counted {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES)))
    }

    /// Counts what has been made.
    pub(super) fn count(&self, bytes: Bytes) -> Result<Bytes, Full> {
        let room = self.0.clone().try_acquire_many_owned(room_for(&bytes));
        Ok(counted(bytes, room.map_err(|_| Full)?))
    }

    /// Waits until there is room for a part.
    pub(super) async fn room(&self) -> Result<Room, Full> {
        match timeout(PATIENCE, self.0.clone().acquire_many_owned(PART as u32)).await {
            Ok(Ok(room)) => Ok(Room(room)),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }
}

impl Room {
    /// Keeps as much of it as the bytes take.
    pub(super) fn keep(mut self, bytes: Vec<u8>) -> Bytes {
        let bytes = exact(bytes);
        let taken = (room_for(&bytes) as usize).min(self.0.num_permits());
        match self.0.split(taken) {
            Some(room) => counted(bytes, room),
            None => counted(bytes, self.0),
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn counted(bytes: Bytes, room: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Counted { bytes, _room: room })
}

/// What has been made, without the room that it grew into.
pub(super) fn exact(made: Vec<u8>) -> Bytes {
    made.into_boxed_slice().into()
}

fn room_for(bytes: &Bytes) -> u32 {
    bytes.len().min(BYTES) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_have_room_as_long_as_there_is_some() {
        let budget = Budget::new();
        let parts: Vec<_> = (0..BYTES / PART).map(|_| budget.room()).collect();
        let mut held = Vec::new();
        for part in parts {
            held.push(part.await.unwrap());
        }
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        assert!(budget.room().await.is_err());
        // A part that is short gives back the rest of its room.
        let part = held.pop().unwrap().keep(b"part".to_vec());
        assert_eq!(part, "part");
        let one = budget.count(Bytes::from(vec![0; PART - 4])).unwrap();
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        // So does what has been read, once no piece of it is left.
        let piece = one.slice(1..2);
        drop(one);
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        drop((piece, part));
        assert!(budget.count(Bytes::from(vec![0; PART])).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_larger_than_all_needs_all() {
        let budget = Budget::new();
        let large = budget.count(Bytes::from(vec![0; BYTES + 1])).unwrap();
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        drop(large);
        assert!(budget.count(Bytes::from_static(b"x")).is_ok());
    }
}
