//! The memory that the responses of all connections together may take.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The most bytes of responses that clients have not read yet. A larger response, such as the
/// metrics of tens of thousands of brokers, needs the whole budget.
const BUDGET_BYTES: usize = 64 << 20;

/// Reserved for a chunk of a response before it is produced.
pub(super) const CHUNK_BYTES: usize = 2 << 20;

/// How long a request or a chunk waits for memory before it fails.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Too little memory is left.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many responses wait for clients to read them; try again")]
pub(super) struct BudgetExhausted;

/// The memory for responses. Clones share it.
#[derive(Clone)]
pub(super) struct MemoryBudget(Arc<Semaphore>);

/// Memory for one chunk.
pub(super) struct Reservation(OwnedSemaphorePermit);

/// Bytes that return their memory to the budget when the last reference is dropped.
struct CountedBytes {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl MemoryBudget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_BYTES)))
    }

    /// Counts bytes that exist already.
    pub(super) fn count(&self, bytes: Bytes) -> Result<Bytes, BudgetExhausted> {
        let permit = self.0.clone().try_acquire_many_owned(permits_for(&bytes));
        Ok(counted(bytes, permit.map_err(|_| BudgetExhausted)?))
    }

    /// Waits until there is memory for a chunk.
    pub(super) async fn reserve_chunk(&self) -> Result<Reservation, BudgetExhausted> {
        let permit = self.0.clone().acquire_many_owned(CHUNK_BYTES as u32);
        match timeout(RESERVE_TIMEOUT, permit).await {
            Ok(Ok(permit)) => Ok(Reservation(permit)),
            Ok(Err(_)) | Err(_) => Err(BudgetExhausted),
        }
    }
}

impl Reservation {
    /// Keeps the part of the memory that the bytes take, and returns the rest.
    pub(super) fn keep(mut self, bytes: Vec<u8>) -> Bytes {
        let bytes = shrunk(bytes);
        let taken = (permits_for(&bytes) as usize).min(self.0.num_permits());
        match self.0.split(taken) {
            Some(permit) => counted(bytes, permit),
            None => counted(bytes, self.0),
        }
    }
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn counted(bytes: Bytes, permit: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(CountedBytes { bytes, _permit: permit })
}

/// The bytes without spare capacity.
pub(super) fn shrunk(bytes: Vec<u8>) -> Bytes {
    bytes.into_boxed_slice().into()
}

fn permits_for(bytes: &Bytes) -> u32 {
    bytes.len().min(BUDGET_BYTES) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn responses_get_memory_as_long_as_some_is_left() {
        let budget = MemoryBudget::new();
        let mut held = Vec::new();
        for _ in 0..BUDGET_BYTES / CHUNK_BYTES {
            held.push(budget.reserve_chunk().await.unwrap());
        }
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        assert!(budget.reserve_chunk().await.is_err());
        // A short chunk returns the rest of its reservation.
        let chunk = held.pop().unwrap().keep(b"data".to_vec());
        assert_eq!(chunk, "data");
        let one = budget.count(Bytes::from(vec![0; CHUNK_BYTES - 4])).unwrap();
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        // Memory is returned once no slice of it is left.
        let slice = one.slice(1..2);
        drop(one);
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        drop((slice, chunk));
        assert!(budget.count(Bytes::from(vec![0; CHUNK_BYTES])).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_larger_than_the_budget_needs_all_of_it() {
        let budget = MemoryBudget::new();
        let large = budget.count(Bytes::from(vec![0; BUDGET_BYTES + 1])).unwrap();
        assert!(budget.count(Bytes::from_static(b"x")).is_err());
        drop(large);
        assert!(budget.count(Bytes::from_static(b"x")).is_ok());
    }
}
