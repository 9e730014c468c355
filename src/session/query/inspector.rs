//! Whoever wants to know of sessions, and how long is waited for the workers that know.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    time::timeout,
};

use super::inspect::{Filter, Kind, Place, SessionInfo, SessionQuery};
use crate::{
    labels::EndCause,
    session::{
        clients::{ClientDirectory, ClientHash, Held},
        session_id::worker_of,
    },
};

/// How long workers look at their sessions for one question. They answer with what they have found.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// How many bytes of client IDs and usernames a page has before it ends early: each of them can have
/// 64 KiB.
const PAGE_TEXT: usize = 64 << 10;

/// The same for the sessions of one client ID, which do not come in pages.
const CLIENT_TEXT: usize = 256 << 10;

/// Sessions of one client ID that a worker is asked for at a time.
const AT_ONCE: usize = 8;

/// For a worker's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands a question to one worker.
pub type QuerySender = Box<dyn Fn(SessionQuery) + Send + Sync>;

/// The way to all workers' sessions.
pub struct Inspector {
    workers: Vec<QuerySender>,
    clients: Arc<ClientDirectory>,
    looks: Semaphore,
}

/// Looks through many sessions that are under way at a time: all others wait, so that whoever asks
/// a thousand things at once does not keep the workers from their clients.
const LOOKS: usize = 2;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("worker {0} has not answered within {PATIENCE:?}; ask again")]
    Silent(usize),
    #[error("too many searches are under way; ask again")]
    Busy,
}

/// Where to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    worker: u16,
    slot: u32,
}

/// Some of all sessions.
#[derive(Debug, Default)]
pub struct Page {
    pub sessions: Vec<SessionInfo>,
    /// `None` where there are no more. A page that took long ends early, and may even be empty; so
    /// does one with long client IDs or usernames, though with one session at least.
    pub next: Option<Cursor>,
    /// How long was looked for it.
    pub took: Duration,
}

impl Inspector {
    /// `workers` in their order.
    pub fn new(workers: Vec<QuerySender>, clients: Arc<ClientDirectory>) -> Self {
        Self { workers, clients, looks: Semaphore::new(LOOKS) }
    }

    /// The sessions that are meant, at most so many, from a place on, as far as the time is enough.
    ///
    /// # Errors
    /// Where a worker does not answer.
    pub async fn page(
        &self,
        filter: &Arc<Filter>,
        from: Cursor,
        most: usize,
        time: Duration,
    ) -> Result<Page, QueryError> {
        let _look = self.look().await?;
        let began = Instant::now();
        let until = began + time;
        let mut page = Page::default();
        let mut from = Some(from);
        let mut text = 0;
        while let Some(Cursor { worker, slot }) = from
            && usize::from(worker) < self.workers.len()
        {
            let filter = filter.clone();
            let (from_slot, most) = (slot as usize, most - page.sessions.len());
            let most_text = PAGE_TEXT.saturating_sub(text);
            let question =
                |reply| Kind::Some { from: from_slot, most, most_text, filter, until, reply };
            let slice = self.ask(usize::from(worker), question).await?.unwrap_or_default();
            text += slice.seen.iter().map(SessionInfo::text).sum::<usize>();
            page.sessions.extend(slice.seen);
            if let Some(next) = slice.next {
                page.next = Some(Cursor { worker, slot: next as u32 });
                break;
            }
            from = worker.checked_add(1).map(|worker| Cursor { worker, slot: 0 });
        }
        page.took = began.elapsed();
        Ok(page)
    }

    /// The sessions of a client ID in a pool, of whichever tenant, those that are meant, the newest
    /// first: found without a look at others. `None` if the ID has more than `most`, or if these have
    /// long usernames.
    ///
    /// # Errors
    /// Where a worker does not answer.
    pub async fn of_client(
        &self,
        pool: u64,
        client_id: &str,
        filter: &Arc<Filter>,
        most: usize,
    ) -> Result<Option<Vec<SessionInfo>>, QueryError> {
        let Some(held) = self.clients.find(ClientHash::new(pool, client_id), most) else {
            return Ok(None);
        };
        let mut by_worker: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
        for (order, Held { session, slot, .. }) in held.into_iter().enumerate() {
            let place = Place { order, session, slot: slot as usize };
            by_worker.entry(worker_of(session)).or_default().push(place);
        }
        let (mut found, mut text) = (Vec::new(), 0);
        for (worker, mut places) in by_worker {
            while !places.is_empty() {
                let filter = filter.clone();
                let places = places.split_off(places.len().saturating_sub(AT_ONCE));
                let question = |reply| Kind::These { places, filter, reply };
                let seen = self.ask(worker, question).await?.unwrap_or_default();
                text += seen.iter().map(|(_, seen)| seen.text()).sum::<usize>();
                found.extend(seen);
                if text > CLIENT_TEXT {
                    return Ok(None);
                }
            }
        }
        found.sort_unstable_by_key(|(order, _)| *order);
        Ok(Some(found.into_iter().map(|(_, seen)| seen).collect()))
    }

    /// Ends a session; false where there is none of that ID.
    ///
    /// # Errors
    /// Where a worker does not answer.
    pub async fn end(&self, session: u64, cause: EndCause) -> Result<bool, QueryError> {
        let _look = self.look().await?;
        let worker = worker_of(session);
        let until = Instant::now() + QUERY_TIMEOUT;
        let ended = self.ask(worker, |reply| Kind::End { session, cause, until, reply }).await?;
        match ended {
            Some(Err(_)) => Err(QueryError::Silent(worker)),
            Some(Ok(ended)) => Ok(ended),
            None => Ok(false),
        }
    }

    async fn look(&self) -> Result<SemaphorePermit<'_>, QueryError> {
        match timeout(PATIENCE, self.looks.acquire()).await {
            Ok(Ok(look)) => Ok(look),
            Ok(Err(_)) | Err(_) => Err(QueryError::Busy),
        }
    }

    /// `None`: the worker has ended, and its sessions have.
    async fn ask<T>(
        &self,
        worker: usize,
        question: impl FnOnce(oneshot::Sender<T>) -> Kind,
    ) -> Result<Option<T>, QueryError> {
        let Some(ask) = self.workers.get(worker) else { return Ok(None) };
        let (reply, replied) = oneshot::channel();
        ask(SessionQuery(question(reply)));
        match timeout(PATIENCE, replied).await {
            Ok(answer) => Ok(answer.ok()),
            Err(_) => Err(QueryError::Silent(worker)),
        }
    }
}

impl Cursor {
    /// As a text that says nothing to people.
    pub fn encode(self) -> String {
        format!("{:04x}{:08x}", self.worker, self.slot)
    }

    pub fn decode(text: &str) -> Option<Self> {
        let is_ours = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_ours)?;
        Some(Self { worker: (number >> 32) as u16, slot: number as u32 })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::session::SESSION_ID_BITS;

    /// A worker that keeps what it is asked.
    fn silent() -> (QuerySender, Arc<Mutex<Vec<SessionQuery>>>) {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let keep = asked.clone();
        (Box::new(move |question| keep.lock().unwrap().push(question)), asked)
    }

    fn inspector(workers: Vec<QuerySender>) -> Inspector {
        Inspector::new(workers, Arc::new(ClientDirectory::new(2, Arc::default())))
    }

    async fn page(inspector: &Inspector) -> Result<Page, QueryError> {
        inspector.page(&Arc::default(), Cursor::default(), 1, QUERY_TIMEOUT).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_silent_is_named_and_one_that_has_ended_has_no_sessions() {
        let ended: QuerySender = Box::new(drop);
        let page_of_none = page(&inspector(vec![ended])).await;
        assert!(page_of_none.is_ok_and(|page| page.sessions.is_empty() && page.next.is_none()));
        let (worker, asked) = silent();
        let inspector = inspector(vec![Box::new(drop), worker]);
        let page = page(&inspector).await;
        assert_eq!(page.err(), Some(QueryError::Silent(1)));
        let of_1 = (1 << SESSION_ID_BITS) + 77;
        assert_eq!(inspector.end(of_1, EndCause::Kicked).await, Err(QueryError::Silent(1)));
        assert_eq!(inspector.end(77, EndCause::Kicked).await, Ok(false));
        assert_eq!(asked.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_few_look_at_a_time() {
        let (worker, asked) = silent();
        let inspector = inspector(vec![worker]);
        let look = || page(&inspector);
        let looks = async { tokio::join!(look(), look(), look()) };
        assert!(timeout(PATIENCE / 2, looks).await.is_err());
        assert_eq!(asked.lock().unwrap().len(), LOOKS);
        // Whoever has left holds nobody else up.
        assert_eq!(look().await.err(), Some(QueryError::Silent(0)));
    }

    #[test]
    fn cursors_come_back_as_they_were() {
        for cursor in [
            Cursor::default(),
            Cursor { worker: 1, slot: 77 },
            Cursor { worker: u16::MAX, slot: u32::MAX },
        ] {
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
        for text in ["", "0", "00000000000g", "0000000000000", "+00000000000", "ä0000000000"] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }
}
