//! Looking up names in DNS: one resolver for the whole program.

mod answer;
mod directory;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    net::{DnsError, NetError},
    proto::rr::{Name, RecordType},
};
use tokio::{join, sync::Semaphore, task::JoinSet, time::timeout};

pub use answer::{Addresses, Service, Services};

use crate::config;
use directory::{Directory, Stamp};

/// How long looking up one name may take in all: all tries at all servers.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Names that are looked up at the same time. Each may have eight sockets open (two types of
/// records, four datagrams while no answer comes), which makes half of the descriptors that are
/// kept for what no worker holds.
const AT_A_TIME: usize = 8;

/// Asks DNS; keeps no answers, so that each is as new as the servers have it.
pub struct Resolver {
    /// `dns.servers`; empty where the system's files say it.
    servers: Vec<SocketAddr>,
    /// Made anew when those files have changed. Held for a copy.
    directory: Mutex<Option<(Stamp, Directory)>>,
    places: Semaphore,
}

/// Why a look-up has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// Likely: nothing runs there now, or the name is misspelt.
    #[error("there are no such records")]
    Empty,
    /// Likely: the servers are down, or a firewall drops.
    #[error("no answer within {LOOKUP_TIMEOUT:?}")]
    TimedOut,
    /// Likely: the servers cannot reach those that know, or do not want to answer.
    #[error("{0}")]
    Failed(String),
}

impl Resolver {
    pub fn new(dns: &config::Dns) -> Self {
        Self {
            servers: dns.servers.clone(),
            directory: Mutex::default(),
            places: Semaphore::new(AT_A_TIME),
        }
    }

    /// Looks up the A and AAAA records of a host.
    pub async fn addresses(&self, host: &str) -> Result<Addresses, LookupError> {
        self.look_up(host, |client, name| async move {
            let (v4, v6) = join!(
                client.lookup(name.clone(), RecordType::A),
                client.lookup(name, RecordType::AAAA)
            );
            Addresses::of([v4, v6])
        })
        .await
    }

    /// Looks up the SRV records of a service.
    pub async fn services(&self, name: &str) -> Result<Services, LookupError> {
        self.look_up(name, |client, name| async move {
            Services::of(&client.lookup(name, RecordType::SRV).await?)
        })
        .await
    }

    /// Asks for a name in each domain until there is an answer.
    async fn look_up<T: Send + 'static, F>(
        &self,
        name: &str,
        ask: impl Fn(TokioResolver, Name) -> F,
    ) -> Result<T, LookupError>
    where
        F: Future<Output = Result<T, LookupError>> + Send + 'static,
    {
        let searching = async {
            let _place = self.places.acquire().await;
            let directory = self.directory()?;
            let mut outcome = LookupError::Empty;
            for name in directory.names(name)? {
                match apart(ask(directory.client.clone(), name)).await {
                    Ok(answer) => return Ok(answer),
                    Err(LookupError::Empty) => {}
                    Err(failure) => outcome = failure,
                }
            }
            Err(outcome)
        };
        timeout(LOOKUP_TIMEOUT, searching).await.unwrap_or(Err(LookupError::TimedOut))
    }

    fn directory(&self) -> Result<Directory, LookupError> {
        let stamp = if self.servers.is_empty() { directory::stamp() } else { Stamp::default() };
        let mut kept = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, directory)) if *of == stamp => Ok(directory.clone()),
            _ => {
                let directory = match &*self.servers {
                    [] => Directory::of_system()?,
                    servers => Directory::of_servers(servers)?,
                };
                *kept = Some((stamp, directory.clone()));
                Ok(directory)
            }
        }
    }
}

/// Runs a look-up as a task of its own: if the resolver should panic over an answer, that has failed
/// and no more.
async fn apart<T: Send + 'static>(
    look_up: impl Future<Output = Result<T, LookupError>> + Send + 'static,
) -> Result<T, LookupError> {
    // Ends with this future.
    let mut task = JoinSet::new();
    task.spawn(look_up);
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) | None => Err(LookupError::Failed("the resolver gave up".to_owned())),
    }
}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(_)) => Self::Empty,
            NetError::Timeout => Self::TimedOut,
            error => Self::Failed(error.to_string()),
        }
    }
}
