//! The keys of the PROXY protocol: whose headers are believed, and what brokers are sent.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Bind, Networks, ProxyProtocolIn, ProxyProtocolOut,
    fault::quote,
    section::{Item, Read, Section},
    values,
};

const FROM: &str =
    "networks and addresses such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7, or unix";
const NETWORK: &str = "IP/PREFIX or IP, such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7";

/// An entry of `from`: a network, or (`None`) the peers on a unix socket.
type Source = Option<IpNet>;

/// `bind` is where the listener's peers come from, unless it could not be read.
pub(super) fn accept(section: &mut Section<'_>, bind: Option<&Bind>) -> Read<ProxyProtocolIn> {
    let from = section.required("from", FROM, |item| item.some(|item| source(item, bind)))?;
    let unix = from.contains(&None);
    Ok(ProxyProtocolIn { from: Networks(from.into_iter().flatten().collect()), unix })
}

/// Reads an entry that some peer of the listener can be of.
fn source(item: &Item<'_>, bind: Option<&Bind>) -> Read<Source> {
    let source = match item.text(FROM)? {
        "unix" => None,
        _ => Some(network(item)?),
    };
    match (source, bind) {
        (None, Some(Bind::Tcp(_))) => {
            Err(item.wrong("\"unix\" is nobody here, as bind is no unix socket", NETWORK))
        }
        (Some(_), Some(Bind::Unix(_))) => {
            Err(item.wrong("is nobody here, as peers on a unix socket have no address", "unix"))
        }
        _ => Ok(source),
    }
}

/// A network, or an address as the network of it alone.
pub(super) fn network(item: &Item<'_>) -> Read<IpNet> {
    let text = item.expanded(NETWORK)?;
    let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = text.parse::<IpNet>().or_else(|_| address(&text)) else {
        return Err(item.wrong(&format!("{} is not a network", quote(&text)), NETWORK));
    };
    if matches!(network.addr(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return Err(item.wrong(&format!("{} is IPv4 written as IPv6", quote(&text)), NETWORK));
    }
    if network.trunc() != network {
        let allowed = format!("{}, or {}", network.trunc(), network.addr());
        let what = format!("{} is an address and a prefix of its network", quote(&text));
        return Err(item.wrong(&what, &allowed));
    }
    Ok(network)
}

pub(super) fn send(item: &Item<'_>) -> Read<Option<ProxyProtocolOut>> {
    let versions =
        [("none", None), ("v1", Some(ProxyProtocolOut::V1)), ("v2", Some(ProxyProtocolOut::V2))];
    values::one_of(item, &versions)
}
