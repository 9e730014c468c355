//! The DNS resolver, one for the whole program.

mod answer;
mod error;
mod name_servers;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use hickory_resolver::{
    TokioResolver,
    proto::rr::{Name, RecordType},
};
use tokio::{join, sync::Semaphore, task::JoinSet, time::timeout};

pub(crate) use answer::{ResolvedAddresses, SrvRecord, SrvRecords};

use crate::config;
pub(crate) use error::{LOOKUP_TIMEOUT, LookupError};
use name_servers::{FilesVersion, NameServers, files_version};

/// The maximum number of concurrent lookups. Each may have eight sockets open (two record types,
/// four datagrams each while no answer arrives). Together they use half of the descriptors reserved
/// for everything outside the workers.
const MAX_CONCURRENT_LOOKUPS: usize = 8;

/// Queries DNS without a cache, so that each answer is as recent as the servers have it.
pub(crate) struct Resolver {
    /// `dns.servers`; empty if the system's files define the servers.
    servers: Vec<SocketAddr>,
    /// Read again when those files have changed. Locked only while they are copied.
    name_servers: Mutex<Option<(FilesVersion, NameServers)>>,
    permits: Semaphore,
}

impl Resolver {
    pub(crate) fn new(dns: &config::Dns) -> Self {
        Self {
            servers: dns.servers.clone(),
            name_servers: Mutex::default(),
            permits: Semaphore::new(MAX_CONCURRENT_LOOKUPS),
        }
    }

    /// Looks up the A and AAAA records of a host.
    pub(crate) async fn addresses(&self, host: &str) -> Result<ResolvedAddresses, LookupError> {
        self.look_up(host, |client, name| async move {
            let (v4, v6) = join!(
                client.lookup(name.clone(), RecordType::A),
                client.lookup(name, RecordType::AAAA)
            );
            ResolvedAddresses::of([v4, v6])
        })
        .await
    }

    /// Looks up the SRV records of a service.
    pub(crate) async fn services(&self, name: &str) -> Result<SrvRecords, LookupError> {
        self.look_up(name, |client, name| async move {
            SrvRecords::of(&client.lookup(name, RecordType::SRV).await?)
        })
        .await
    }

    /// Looks a name up in each search domain until there is an answer.
    async fn look_up<T: Send + 'static, F>(
        &self,
        name: &str,
        ask: impl Fn(TokioResolver, Name) -> F,
    ) -> Result<T, LookupError>
    where
        F: Future<Output = Result<T, LookupError>> + Send + 'static,
    {
        let searching = async {
            let _permit = self.permits.acquire().await;
            let name_servers = self.name_servers()?;
            let mut outcome = LookupError::Empty;
            for name in name_servers.names(name)? {
                match isolated(ask(name_servers.client.clone(), name)).await {
                    Ok(answer) => return Ok(answer),
                    Err(LookupError::Empty) => {}
                    Err(failure) => outcome = failure,
                }
            }
            Err(outcome)
        };
        timeout(LOOKUP_TIMEOUT, searching).await.unwrap_or(Err(LookupError::TimedOut))
    }

    fn name_servers(&self) -> Result<NameServers, LookupError> {
        let version =
            if self.servers.is_empty() { files_version() } else { FilesVersion::default() };
        let mut kept = self.name_servers.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, name_servers)) if *of == version => Ok(name_servers.clone()),
            _ => {
                let name_servers = match &*self.servers {
                    [] => NameServers::of_system()?,
                    servers => NameServers::of_servers(servers)?,
                };
                *kept = Some((version, name_servers.clone()));
                Ok(name_servers)
            }
        }
    }
}

/// Runs a lookup in a task of its own: if the resolver panics, only this lookup fails.
async fn isolated<T: Send + 'static>(
    look_up: impl Future<Output = Result<T, LookupError>> + Send + 'static,
) -> Result<T, LookupError> {
    // The task ends when this future is dropped.
    let mut task = JoinSet::new();
    task.spawn(look_up);
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) | None => Err(LookupError::Failed("the resolver panicked".to_owned())),
    }
}
