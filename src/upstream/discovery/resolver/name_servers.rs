//! The DNS servers to query, and the search domains of a name.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::Name,
    system_conf::read_system_conf,
};

use super::error::LookupError;

/// The time limit of one try, and the number of retries: together they take less than
/// [`LOOKUP_TIMEOUT`](super::LOOKUP_TIMEOUT), and each is long enough for a recursive server to
/// query others.
const TRY_TIMEOUT: Duration = Duration::from_millis(1500);
const MAX_RETRIES: usize = 2;

/// The system's files that configure name resolution.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// The servers to query, and the search domains.
#[derive(Clone)]
pub(crate) struct NameServers {
    pub(crate) client: TokioResolver,
    /// Names with fewer dots are tried in `domains` first (`ndots` in resolv.conf(5)).
    dots: usize,
    domains: Vec<Name>,
}

/// The modification times and inodes of the system's files: changes when they do.
pub(crate) type FilesVersion = [Option<(i64, i64, u64)>; SYSTEM_FILES.len()];

impl NameServers {
    /// These servers, without search domains.
    pub(crate) fn of_servers(servers: &[SocketAddr]) -> Result<Self, LookupError> {
        let server = |address: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        };
        let client = client(servers.iter().map(server).collect(), ResolveHosts::Never)?;
        Ok(Self { client, dots: 0, domains: Vec::new() })
    }

    /// The system's servers and search domains.
    pub(crate) fn of_system() -> Result<Self, LookupError> {
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            // The default in resolv.conf(5) is the server on this machine.
            let [file, _] = SYSTEM_FILES;
            tracing::warn!(%error, "{file} names no DNS server; asking 127.0.0.1");
            let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
        });
        let (domain, search, servers) = config.into_parts();
        let domains = if search.is_empty() { domain.into_iter().collect() } else { search };
        Ok(Self { client: client(servers, ResolveHosts::Always)?, dots: options.ndots, domains })
    }

    /// The full names that `name` may stand for, most likely first.
    pub(crate) fn names(&self, name: &str) -> Result<Vec<Name>, LookupError> {
        let written = Name::from_ascii(name).map_err(NetError::from)?;
        if written.is_fqdn() {
            return Ok(vec![written]);
        }
        let mut whole = written.clone();
        whole.set_fqdn(true);
        // A name that becomes too long is omitted.
        let in_domain = |domain| written.clone().append_domain(domain).ok();
        let mut names: Vec<_> = self.domains.iter().filter_map(in_domain).collect();
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        let at = if dots >= self.dots { 0 } else { names.len() };
        names.insert(at, whole);
        Ok(names)
    }
}

fn client(
    servers: Vec<NameServerConfig>,
    hosts_file: ResolveHosts,
) -> Result<TokioResolver, LookupError> {
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = TRY_TIMEOUT;
    options.attempts = MAX_RETRIES;
    options.cache_size = 0;
    options.use_hosts_file = hosts_file;
    // The next server is queried when one fails; querying several at once would gain nothing.
    options.num_concurrent_reqs = 1;
    // The TTL of an alias then limits the TTL of its target.
    options.preserve_intermediates = false;
    Ok(builder.build()?)
}

pub(crate) fn files_version() -> FilesVersion {
    SYSTEM_FILES.map(|file| {
        let file = fs::metadata(file).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.ino()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dots: usize, domains: &[&str], name: &str) -> Vec<String> {
        let mut name_servers = NameServers::of_servers(&["127.0.0.1:53".parse().unwrap()]).unwrap();
        name_servers.dots = dots;
        name_servers.domains =
            domains.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
        name_servers.names(name).unwrap().iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn names_are_searched_as_resolv_conf_says() {
        let domains = &["mqtt.svc.cluster.local", "svc.cluster.local."];
        let (first, second) = ("emqx.mqtt.svc.cluster.local.", "emqx.svc.cluster.local.");
        assert_eq!(names(5, domains, "emqx"), [first, second, "emqx."]);
        assert_eq!(names(0, domains, "emqx"), ["emqx.", first, second]);
        assert_eq!(names(5, domains, "emqx."), ["emqx."]);
        let tcp = |domain| format!("_mqtt._tcp.x.{domain}");
        let (first, second) = (tcp("mqtt.svc.cluster.local."), tcp("svc.cluster.local."));
        assert_eq!(names(3, domains, "_mqtt._tcp.x"), [&*first, &*second, "_mqtt._tcp.x."]);
        assert_eq!(names(2, domains, "_mqtt._tcp.x"), ["_mqtt._tcp.x.", &*first, &*second]);
        // 234 bytes; with the longer domain, more than the 255 that a name may have.
        let long = ["a"; 117].join(".");
        assert_eq!(names(99, domains, &long).len(), 2);
    }

    #[test]
    fn invalid_names() {
        let name_servers = NameServers::of_servers(&["127.0.0.1:53".parse().unwrap()]).unwrap();
        for name in ["a..b", &"a".repeat(64), &["a"; 150].join(".")] {
            assert!(name_servers.names(name).is_err(), "{name}");
        }
    }
}
