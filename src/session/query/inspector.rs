//! The querying side: which workers are queried, and how long their answers are waited for.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    time::timeout,
};

use super::inspect::{Filter, QueryKind, SessionInfo, SessionQuery, SessionSlot};
use crate::{
    labels::EndCause,
    limits::Ban,
    session::{
        clients::{ClientDirectory, ClientHash, DirectoryEntry, DuplicateClient},
        session_id::worker_of,
    },
};

/// How long a worker walks over its sessions for one query before it answers with what it has
/// found.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of client IDs and usernames after which a page ends early: each string can have 64 KiB.
const MAX_PAGE_TEXT_BYTES: usize = 64 << 10;

/// The same limit for the sessions of one client ID, which are not paged.
const MAX_CLIENT_TEXT_BYTES: usize = 256 << 10;

/// Sessions of one client ID in one query to a worker.
const SESSIONS_PER_QUERY: usize = 8;

/// How long a worker's answer is waited for, and how long a search waits for its turn.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends a query to one worker.
pub(crate) type QuerySender = Box<dyn Fn(SessionQuery) + Send + Sync>;

/// Queries the sessions of all workers.
pub(crate) struct Inspector {
    workers: Vec<QuerySender>,
    clients: Arc<ClientDirectory>,
    searches: Semaphore,
}

/// Searches that run at a time. Others wait, so that a thousand concurrent requests do not keep the
/// workers from their clients.
const MAX_CONCURRENT_SEARCHES: usize = 2;

/// Why a query has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("worker {0} did not answer within {ANSWER_TIMEOUT:?}; try again")]
    Silent(usize),
    #[error("too many searches are running; try again")]
    Busy,
}

/// The position at which a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    worker: u16,
    slot: u32,
}

/// A page of all sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionPage {
    pub(crate) sessions: Vec<SessionInfo>,
    /// `None` if there are no more sessions. A page that took long ends early, and may even be
    /// empty; a page with long client IDs or usernames also ends early, but has at least one
    /// session.
    pub(crate) next: Option<Cursor>,
    /// How long the search took.
    pub(crate) took: Duration,
}

impl Inspector {
    /// `workers` are in the order of their indices.
    pub(crate) fn new(workers: Vec<QuerySender>, clients: Arc<ClientDirectory>) -> Self {
        Self { workers, clients, searches: Semaphore::new(MAX_CONCURRENT_SEARCHES) }
    }

    /// The client IDs that several devices use, and how many others were removed from the list.
    pub(crate) fn duplicates(&self) -> (Vec<DuplicateClient>, u64) {
        self.clients.duplicates.list()
    }

    /// The matching sessions from a cursor on: at most `max`, and only those found within `time`.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub(crate) async fn page(
        &self,
        filter: &Arc<Filter>,
        from: Cursor,
        max: usize,
        time: Duration,
    ) -> Result<SessionPage, QueryError> {
        let _search = self.start_search().await?;
        let began = Instant::now();
        let until = began + time;
        let mut page = SessionPage::default();
        let mut from = Some(from);
        let mut text_bytes = 0;
        while let Some(Cursor { worker, slot }) = from
            && usize::from(worker) < self.workers.len()
        {
            let filter = filter.clone();
            let max_text_bytes = MAX_PAGE_TEXT_BYTES.saturating_sub(text_bytes);
            let query = |reply| QueryKind::Page {
                from_slot: slot as usize,
                max_sessions: max - page.sessions.len(),
                max_text_bytes,
                filter,
                until,
                reply,
            };
            let part = self.ask(usize::from(worker), query).await?.unwrap_or_default();
            text_bytes += part.sessions.iter().map(SessionInfo::text_bytes).sum::<usize>();
            page.sessions.extend(part.sessions);
            if let Some(next) = part.next {
                page.next = Some(Cursor { worker, slot: next as u32 });
                break;
            }
            from = worker.checked_add(1).map(|worker| Cursor { worker, slot: 0 });
        }
        page.took = began.elapsed();
        Ok(page)
    }

    /// The matching sessions of a client ID in a pool, of all tenants, newest first. They are found
    /// in the directory, without a walk. `None` if the ID has more than `max` sessions, or if their
    /// usernames are too long in total.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub(crate) async fn of_client(
        &self,
        pool: u64,
        client_id: &str,
        filter: &Arc<Filter>,
        max: usize,
    ) -> Result<Option<Vec<SessionInfo>>, QueryError> {
        let Some(entries) = self.clients.find(ClientHash::new(pool, client_id), max) else {
            return Ok(None);
        };
        let mut by_worker: BTreeMap<usize, Vec<SessionSlot>> = BTreeMap::new();
        for (order, DirectoryEntry { session_id, slot, .. }) in entries.into_iter().enumerate() {
            let slot = SessionSlot { order, session_id, slot };
            let worker = worker_of(session_id, self.workers.len());
            by_worker.entry(worker).or_default().push(slot);
        }
        let (mut found, mut text_bytes) = (Vec::new(), 0);
        for (worker, mut slots) in by_worker {
            while !slots.is_empty() {
                let filter = filter.clone();
                let slots = slots.split_off(slots.len().saturating_sub(SESSIONS_PER_QUERY));
                let query = |reply| QueryKind::Slots { slots, filter, reply };
                let infos = self.ask(worker, query).await?.unwrap_or_default();
                text_bytes += infos.iter().map(|(_, info)| info.text_bytes()).sum::<usize>();
                found.extend(infos);
                if text_bytes > MAX_CLIENT_TEXT_BYTES {
                    return Ok(None);
                }
            }
        }
        found.sort_unstable_by_key(|(order, _)| *order);
        Ok(Some(found.into_iter().map(|(_, info)| info).collect()))
    }

    /// Ends a session; false if there is no session with that ID.
    ///
    /// # Errors
    /// If a worker does not answer.
    pub(crate) async fn end(&self, session_id: u64, cause: EndCause) -> Result<bool, QueryError> {
        let _search = self.start_search().await?;
        let worker = worker_of(session_id, self.workers.len());
        let until = Instant::now() + QUERY_TIMEOUT;
        let ended =
            self.ask(worker, |reply| QueryKind::End { session_id, cause, until, reply }).await?;
        match ended {
            Some(Err(_)) => Err(QueryError::Silent(worker)),
            Some(Ok(ended)) => Ok(ended),
            None => Ok(false),
        }
    }

    /// Has a worker write bans by the operator into the access log.
    pub(crate) fn log_bans(&self, bans: Vec<Ban>) {
        if let Some(ask) = self.workers.first() {
            ask(SessionQuery(QueryKind::LogBans(bans)));
        }
    }

    async fn start_search(&self) -> Result<SemaphorePermit<'_>, QueryError> {
        match timeout(ANSWER_TIMEOUT, self.searches.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(QueryError::Busy),
        }
    }

    /// `None` if the worker has ended, and its sessions with it.
    async fn ask<T>(
        &self,
        worker: usize,
        query: impl FnOnce(oneshot::Sender<T>) -> QueryKind,
    ) -> Result<Option<T>, QueryError> {
        let Some(ask) = self.workers.get(worker) else { return Ok(None) };
        let (reply, replied) = oneshot::channel();
        ask(SessionQuery(query(reply)));
        match timeout(ANSWER_TIMEOUT, replied).await {
            Ok(answer) => Ok(answer.ok()),
            Err(_) => Err(QueryError::Silent(worker)),
        }
    }
}

impl Cursor {
    /// Encodes the cursor as an opaque string of 12 hexadecimal digits.
    pub(crate) fn encode(self) -> String {
        format!("{:04x}{:08x}", self.worker, self.slot)
    }

    /// `None` if the text is not a cursor.
    pub(crate) fn decode(text: &str) -> Option<Self> {
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

    /// A worker that stores queries and does not answer them.
    fn silent() -> (QuerySender, Arc<Mutex<Vec<SessionQuery>>>) {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let keep = asked.clone();
        (Box::new(move |query| keep.lock().unwrap().push(query)), asked)
    }

    fn inspector(workers: Vec<QuerySender>) -> Inspector {
        Inspector::new(workers, Arc::new(ClientDirectory::new(2, Arc::default())))
    }

    async fn page(inspector: &Inspector) -> Result<SessionPage, QueryError> {
        inspector.page(&Arc::default(), Cursor::default(), 1, QUERY_TIMEOUT).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_worker_is_named_and_an_ended_one_has_no_sessions() {
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
    async fn only_a_few_searches_run_at_a_time() {
        let (worker, asked) = silent();
        let inspector = inspector(vec![worker]);
        let search = || page(&inspector);
        let searches = async { tokio::join!(search(), search(), search()) };
        assert!(timeout(ANSWER_TIMEOUT / 2, searches).await.is_err());
        assert_eq!(asked.lock().unwrap().len(), MAX_CONCURRENT_SEARCHES);
        // Cancelled searches do not block others.
        assert_eq!(search().await.err(), Some(QueryError::Silent(0)));
    }

    #[test]
    fn cursors_round_trip() {
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
