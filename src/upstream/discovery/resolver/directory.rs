//! Who is asked about a name, and what a name may stand for.

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

use super::LookupError;

/// How long a try may take, and how many there are after the first: together less than
/// [`super::PATIENCE`],
/// and long enough for a recursive server to ask others.
const TRY: Duration = Duration::from_millis(1500);
const RETRIES: usize = 2;

/// What of the system says how names are looked up.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Who is asked, and for which names.
#[derive(Clone)]
pub(in crate::upstream) struct Directory {
    pub(in crate::upstream) client: TokioResolver,
    /// Names with fewer dots are tried in these domains first: resolv.conf(5).
    dots: usize,
    domains: Vec<Name>,
}

/// Tells the contents of the system's files apart.
pub(in crate::upstream) type Stamp = [Option<(i64, i64, u64)>; SYSTEM_FILES.len()];

impl Directory {
    /// Names are looked up as they are written.
    pub(in crate::upstream) fn of_servers(servers: &[SocketAddr]) -> Result<Self, LookupError> {
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

    pub(in crate::upstream) fn of_system() -> Result<Self, LookupError> {
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            // resolv.conf(5): without it, the server on this machine is meant.
            let [file, _] = SYSTEM_FILES;
            tracing::warn!(%error, "{file} names no DNS server; asking 127.0.0.1");
            let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
        });
        let (domain, search, servers) = config.into_parts();
        let domains = if search.is_empty() { domain.into_iter().collect() } else { search };
        Ok(Self { client: client(servers, ResolveHosts::Always)?, dots: options.ndots, domains })
    }

    /// What a name may stand for, the most likely first.
    pub(in crate::upstream) fn names(&self, name: &str) -> Result<Vec<Name>, LookupError> {
        let written = Name::from_ascii(name).map_err(NetError::from)?;
        if written.is_fqdn() {
            return Ok(vec![written]);
        }
        let mut whole = written.clone();
        whole.set_fqdn(true);
        // One that becomes too long is no name.
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
    options.timeout = TRY;
    options.attempts = RETRIES;
    options.cache_size = 0;
    options.use_hosts_file = hosts_file;
    // The next server is asked when one fails; more questions at once would bring nothing else.
    options.num_concurrent_reqs = 1;
    // The time to live of an alias then bounds that of what it leads to.
    options.preserve_intermediates = false;
    Ok(builder.build()?)
}

pub(in crate::upstream) fn stamp() -> Stamp {
    SYSTEM_FILES.map(|file| {
        let file = fs::metadata(file).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.ino()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dots: usize, domains: &[&str], name: &str) -> Vec<String> {
        let mut directory = Directory::of_servers(&["127.0.0.1:53".parse().unwrap()]).unwrap();
        directory.dots = dots;
        directory.domains =
            domains.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
        directory.names(name).unwrap().iter().map(Name::to_ascii).collect()
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
        // 234 bytes, and with the longer domain more than the 255 that a name may have.
        let long = ["a"; 117].join(".");
        assert_eq!(names(99, domains, &long).len(), 2);
    }

    #[test]
    fn what_is_no_name() {
        let directory = Directory::of_servers(&["127.0.0.1:53".parse().unwrap()]).unwrap();
        for name in ["a..b", &"a".repeat(64), &["a"; 150].join(".")] {
            assert!(directory.names(name).is_err(), "{name}");
        }
    }
}
