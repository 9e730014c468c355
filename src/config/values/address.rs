//! Addresses: to listen on, of brokers, of name servers, of networks.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{
    number::number_and_unit,
    scalar::{Invalid, scalar},
    text::is_host_name,
};
use crate::config::{Address, Bind, SyslogAddress, fault::quote};

pub(in crate::config) const BIND: &str = "IP:PORT, \"[IPV6]:PORT\" or unix:/PATH";
pub(in crate::config) const ADDRESS: &str = "IP:PORT, \"[IPV6]:PORT\", HOST:PORT or unix:/PATH";
pub(in crate::config) const SYSLOG: &str = "unix:/PATH, udp://HOST:PORT or tcp://HOST:PORT";
const PORT: &str = "a port from 1 to 65535";
const NETWORK: &str = "IP/PREFIX or IP, such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7";

/// Reads `10.0.0.7:1883`, `[2001:db8::1]:1883`, `broker.internal:1883` or `unix:/path`; a path is
/// not absolute yet.
fn address(text: &str) -> Result<Address, Invalid> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(Address::Unix);
    }
    if let Ok(address) = text.parse() {
        return Ok(Address::Ip(address));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if text.parse::<Ipv6Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(Invalid::new(format!("{} is IPv6 without brackets", quote(text))));
    }
    let port = number_and_unit(port).filter(|(_, unit)| unit.is_empty());
    let port = port.and_then(|(port, _)| u16::try_from(port).ok());
    let port = port.ok_or_else(|| Invalid::new(format!("{} has no valid port", quote(text))))?;
    if is_host_name(host) {
        Ok(Address::Host(host.into(), port))
    } else {
        Err(Invalid::not_a("address", text))
    }
}

fn socket_path(path: &str) -> Result<PathBuf, Invalid> {
    if path.is_empty() || path.contains(char::is_control) {
        let wrong = Invalid::new(format!("{} is not the path of a socket", quote(path)));
        return Err(wrong.allowed("a path of 1 to 107 bytes, its folder included"));
    }
    Ok(Path::new(path).to_owned())
}

fn port_zero(text: &str) -> Invalid {
    Invalid::new(format!("{} has port 0", quote(text))).allowed(PORT)
}

// The path of a socket is as the file has it; validation makes it absolute.
scalar!(
    impl [] Bind: String, BIND, bind,
    { "type": "string", "examples": ["0.0.0.0:1883", "[::]:1883", "unix:/run/mqtt-lb/mqtt.sock"] }
);

fn bind(text: &str) -> Result<Bind, Invalid> {
    match address(text)? {
        // IPv6 sockets are IPv6 only here.
        Address::Ip(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_some() => {
            wrong(text, "is IPv4 written as IPv6")
        }
        Address::Ip(address) => Ok(Bind::Tcp(address)),
        Address::Host(..) => wrong(text, "is a host name"),
        Address::Unix(path) => Ok(Bind::Unix(path)),
    }
}

scalar!(
    impl [] Address: String, ADDRESS, with_port,
    { "type": "string", "examples": ["10.0.0.7:1883", "broker.internal:1883"] }
);

/// An address that can be connected to.
fn with_port(text: &str) -> Result<Address, Invalid> {
    match address(text)? {
        Address::Ip(address) if address.port() == 0 => Err(port_zero(text)),
        Address::Host(_, 0) => Err(port_zero(text)),
        address => Ok(address),
    }
}

scalar!(
    impl [] SyslogAddress: String, SYSLOG, syslog_address,
    { "type": "string", "pattern": "^(unix:|udp://|tcp://)" }
);

fn syslog_address(text: &str) -> Result<SyslogAddress, Invalid> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(SyslogAddress::Unix);
    }
    let not_receiver = || Invalid::new(format!("{} is not the address of a receiver", quote(text)));
    let (scheme, receiver) = text.split_once("://").ok_or_else(not_receiver)?;
    match address(receiver)? {
        Address::Ip(ip) if ip.port() == 0 => return Err(port_zero(text)),
        Address::Host(_, 0) => return Err(port_zero(text)),
        Address::Ip(_) | Address::Host(..) => {}
        Address::Unix(_) => return Err(not_receiver()),
    }
    match scheme {
        "udp" => Ok(SyslogAddress::Udp(receiver.into())),
        "tcp" => Ok(SyslogAddress::Tcp(receiver.into())),
        _ => Err(not_receiver()),
    }
}

scalar!(
    /// The IP address and port of a name server, whose name could not be looked up.
    #[derive(Copy)]
    struct IpPort(SocketAddr):
    String, "IP:PORT or \"[IPV6]:PORT\"", ip_port, { "type": "string" }
);

fn ip_port(text: &str) -> Result<IpPort, Invalid> {
    match with_port(text)? {
        Address::Ip(address) => Ok(IpPort(address)),
        _ => Err(Invalid::not_a("IP address", text)),
    }
}

scalar!(
    /// An address of this host, to connect from.
    #[derive(Copy)]
    struct SourceAddress(IpAddr):
    String, "IP addresses of this host, without ports", source_address, { "type": "string" }
);

fn source_address(text: &str) -> Result<SourceAddress, Invalid> {
    let Ok(address) = text.parse::<IpAddr>() else { return wrong(text, "is not an IP address") };
    match address {
        _ if address.is_unspecified() => wrong(text, "is unspecified"),
        _ if address.is_multicast() => wrong(text, "is multicast"),
        IpAddr::V4(v4) if v4.is_broadcast() => wrong(text, "is broadcast"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => wrong(text, "is IPv4 written as IPv6"),
        // It would need the name of an interface as well.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => wrong(text, "is link-local"),
        _ => Ok(SourceAddress(address)),
    }
}

scalar!(
    /// A network; an address is a network of one address.
    #[derive(Copy)]
    struct Network(IpNet):
    String, NETWORK, network, { "type": "string" }
);

fn network(text: &str) -> Result<Network, Invalid> {
    let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = text.parse::<IpNet>().or_else(|_| address(text)) else {
        return Err(Invalid::not_a("network", text));
    };
    if matches!(network.addr(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return wrong(text, "is IPv4 written as IPv6");
    }
    if network.trunc() != network {
        let invalid = Invalid::new(format!("{} has bits set after its prefix", quote(text)));
        return Err(invalid.allowed(format!("{}, or {}", network.trunc(), network.addr())));
    }
    Ok(Network(network))
}

/// Peers whose PROXY headers are trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) enum ProxySource {
    Network(IpNet),
    /// The peers on a unix socket.
    Unix,
}

impl fmt::Display for ProxySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

scalar!(
    impl [] ProxySource: String,
    "networks and addresses such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7, or unix",
    proxy_source, { "type": "string" }
);

fn proxy_source(text: &str) -> Result<ProxySource, Invalid> {
    if text == "unix" {
        return Ok(ProxySource::Unix);
    }
    network(text).map(|network| ProxySource::Network(network.0)).map_err(|invalid| {
        match invalid.allowed {
            Some(_) => invalid,
            None => invalid.allowed(NETWORK),
        }
    })
}

fn wrong<T>(text: &str, what: &str) -> Result<T, Invalid> {
    Err(Invalid::new(format!("{} {what}", quote(text))))
}
