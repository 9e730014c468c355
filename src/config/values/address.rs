//! Addresses: to listen on, of brokers, of name servers, of networks.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Invalid, Scalar, not_a, number::number_and_unit, scalar, text::is_host_name};
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
        Err(not_a("address", text))
    }
}

fn socket_path(path: &str) -> Result<std::path::PathBuf, Invalid> {
    if path.is_empty() || path.contains(char::is_control) {
        let wrong = Invalid::new(format!("{} is not the path of a socket", quote(path)));
        return Err(wrong.allowed("a path of 1 to 107 bytes, its folder included"));
    }
    Ok(Path::new(path).to_owned())
}

fn port_zero(text: &str) -> Invalid {
    Invalid::new(format!("{} has port 0", quote(text))).allowed(PORT)
}

fn string() -> Value {
    json!({ "type": "string" })
}

/// A local address; the path of a socket is as the file has it.
impl Scalar for Bind {
    fn allowed() -> Cow<'static, str> {
        BIND.into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |what: &str| Err(Invalid::new(format!("{} {what}", quote(text))));
        match address(text)? {
            // IPv6 sockets are IPv6 only here.
            Address::Ip(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_some() => {
                wrong("is IPv4 written as IPv6")
            }
            Address::Ip(address) => Ok(Self::Tcp(address)),
            Address::Host(..) => wrong("is a host name"),
            Address::Unix(path) => Ok(Self::Unix(path)),
        }
    }

    fn print(&self) -> Value {
        self.to_string().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["0.0.0.0:1883", "[::]:1883", "unix:/run/mqtt-lb/mqtt.sock"] })
    }
}
scalar!(Bind);

/// A broker's address; the path of a socket is as the file has it.
impl Scalar for Address {
    fn allowed() -> Cow<'static, str> {
        ADDRESS.into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        match address(text)? {
            Self::Ip(address) if address.port() == 0 => Err(port_zero(text)),
            Self::Host(_, 0) => Err(port_zero(text)),
            address => Ok(address),
        }
    }

    fn print(&self) -> Value {
        self.to_string().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["10.0.0.7:1883", "broker.internal:1883"] })
    }
}
scalar!(Address);

/// A syslog receiver; the path of a socket is as the file has it.
impl Scalar for SyslogAddress {
    fn allowed() -> Cow<'static, str> {
        SYSLOG.into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        let wrong = || Invalid::new(format!("{} is not the address of a receiver", quote(text)));
        let (scheme, receiver) = text.split_once("://").ok_or_else(wrong)?;
        match address(receiver)? {
            Address::Ip(ip) if ip.port() == 0 => return Err(port_zero(text)),
            Address::Host(_, 0) => return Err(port_zero(text)),
            Address::Ip(_) | Address::Host(..) => {}
            Address::Unix(_) => return Err(wrong()),
        }
        match scheme {
            "udp" => Ok(Self::Udp(receiver.into())),
            "tcp" => Ok(Self::Tcp(receiver.into())),
            _ => Err(wrong()),
        }
    }

    fn print(&self) -> Value {
        self.to_string().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^(unix:|udp://|tcp://)" })
    }
}
scalar!(SyslogAddress);

/// An IP address and a port, of a server that has no name yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct IpPort(pub(in crate::config) SocketAddr);

impl Scalar for IpPort {
    fn allowed() -> Cow<'static, str> {
        "IP:PORT or \"[IPV6]:PORT\"".into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        match address(text)? {
            Address::Ip(address) if address.port() == 0 => Err(port_zero(text)),
            Address::Ip(address) => Ok(Self(address)),
            _ => Err(not_a("IP address", text)),
        }
    }

    fn print(&self) -> Value {
        self.0.to_string().into()
    }

    fn schema() -> Value {
        string()
    }
}
scalar!(IpPort);

/// An address of this host, to connect from.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct SourceAddress(pub(in crate::config) IpAddr);

impl Scalar for SourceAddress {
    fn allowed() -> Cow<'static, str> {
        "IP addresses of this host, without ports".into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |what: &str| Err(Invalid::new(format!("{} {what}", quote(text))));
        let Ok(address) = text.parse::<IpAddr>() else { return wrong("is not an IP address") };
        match address {
            _ if address.is_unspecified() => wrong("is unspecified"),
            _ if address.is_multicast() => wrong("is multicast"),
            IpAddr::V4(v4) if v4.is_broadcast() => wrong("is broadcast"),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => wrong("is IPv4 written as IPv6"),
            // It would take the name of an interface as well.
            IpAddr::V6(v6) if v6.is_unicast_link_local() => wrong("is link-local"),
            _ => Ok(Self(address)),
        }
    }

    fn print(&self) -> Value {
        self.0.to_string().into()
    }

    fn schema() -> Value {
        string()
    }
}
scalar!(SourceAddress);

/// A network, or an address as the network of it alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Network(pub(in crate::config) IpNet);

impl Scalar for Network {
    fn allowed() -> Cow<'static, str> {
        NETWORK.into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
        let Ok(network) = text.parse::<IpNet>().or_else(|_| address(text)) else {
            return Err(not_a("network", text));
        };
        if matches!(network.addr(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
            return Err(Invalid::new(format!("{} is IPv4 written as IPv6", quote(text))));
        }
        if network.trunc() != network {
            let wrong = Invalid::new(format!("{} has bits set after its prefix", quote(text)));
            return Err(wrong.allowed(format!("{}, or {}", network.trunc(), network.addr())));
        }
        Ok(Self(network))
    }

    fn print(&self) -> Value {
        self.0.to_string().into()
    }

    fn schema() -> Value {
        string()
    }
}
scalar!(Network);

/// Whose PROXY headers are trusted: a network, or (`None`) the peers on a unix socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct ProxySource(pub(in crate::config) Option<IpNet>);

impl Scalar for ProxySource {
    fn allowed() -> Cow<'static, str> {
        "networks and addresses such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7, or unix".into()
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "unix" => Ok(Self(None)),
            _ => Network::parse(text).map(|network| Self(Some(network.0))).map_err(|invalid| {
                match invalid.allowed {
                    Some(_) => invalid,
                    None => invalid.allowed(NETWORK),
                }
            }),
        }
    }

    fn print(&self) -> Value {
        self.0.map_or_else(|| "unix".into(), |network| network.to_string().into())
    }

    fn schema() -> Value {
        string()
    }
}
scalar!(ProxySource);
