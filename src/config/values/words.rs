//! Settings that are a word or a quantity.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroUsize,
    sync::Arc,
};

use super::{
    number::{HOUR, Number, Time, show_duration},
    scalar::{Invalid, Scalar, scalar},
    text::is_host_name,
};
use crate::{
    config::{Idle, TcpUserTimeout, Workers, fault::quote},
    tls::Pin,
};

/// The most CPUs that a glibc CPU set names (CPU_SETSIZE).
type WorkerCount = Number<NonZeroUsize, 1, 1024>;
/// TCP_USER_TIMEOUT is a signed 32-bit number of milliseconds in the kernel, 0 meaning "unset".
type UserTimeout = Time<1, { 596 * HOUR }>;

scalar!(impl [] Workers: StringOrInteger, format!("auto, or {}", WorkerCount::allowed()), workers, {
    "anyOf": [{ "enum": ["auto"] }, WorkerCount::schema()],
});

fn workers(text: &str) -> Result<Workers, Invalid> {
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    quantity::<WorkerCount>(text).map(|count| Workers::Number(count.0))
}

scalar!(impl [] Idle: String, format!("keepalive, none, or {}", <Time>::allowed()), idle, {
    "anyOf": [{ "enum": ["keepalive", "none"] }, <Time>::schema()],
});

fn idle(text: &str) -> Result<Idle, Invalid> {
    match text {
        "keepalive" => Ok(Idle::KeepAlive),
        "none" => Ok(Idle::Never),
        _ => quantity::<Time>(text).map(|time| Idle::After(time.0)),
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAlive => f.write_str("keepalive"),
            Self::After(time) => f.write_str(&show_duration(*time)),
            Self::Never => f.write_str("none"),
        }
    }
}

scalar!(impl [] TcpUserTimeout: String, format!("auto, or {}", UserTimeout::allowed()), user_timeout, {
    "anyOf": [{ "enum": ["auto"] }, UserTimeout::schema()],
});

fn user_timeout(text: &str) -> Result<TcpUserTimeout, Invalid> {
    match text {
        "auto" => Ok(TcpUserTimeout::Auto),
        _ => quantity::<UserTimeout>(text).map(|time| TcpUserTimeout::After(time.0)),
    }
}

impl fmt::Display for TcpUserTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::After(time) => f.write_str(&show_duration(*time)),
        }
    }
}

/// A quantity, where the text is not one of the words.
fn quantity<Q: Scalar>(text: &str) -> Result<Q, Invalid> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Err(Invalid::new(format!("{} is unknown", quote(text))));
    }
    Q::parse(text).map_err(|invalid| match invalid.allowed {
        None => invalid.allowed(Q::allowed()),
        Some(_) => invalid,
    })
}

/// A version of MQTT, as the protocol level that a CONNECT states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct MqttVersion(pub(in crate::config) u8);

/// The versions as people write them. YAML tools write 5.0 as 5.
const MQTT_VERSIONS: [(&str, u8); 4] = [("3.1", 3), ("3.1.1", 4), ("5.0", 5), ("5", 5)];

impl fmt::Display for MqttVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = MQTT_VERSIONS.iter().find(|(_, level)| *level == self.0);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

scalar!(
    impl [] MqttVersion: StringOrInteger, "3.1, 3.1.1, 5.0", mqtt_version,
    { "enum": ["3.1", "3.1.1", "5.0", 3.1, 5] }
);

fn mqtt_version(text: &str) -> Result<MqttVersion, Invalid> {
    let known = MQTT_VERSIONS.iter().find(|(name, _)| *name == text);
    let invalid = || Invalid::not_a("version of MQTT", text);
    known.map(|(_, level)| MqttVersion(*level)).ok_or_else(invalid)
}

scalar!(
    /// A server that clients are sent to (5.0 §4.13).
    #[derive(Eq)]
    struct ServerReference(Arc<str>):
    String, SERVER_REFERENCE, server_reference, { "type": "string", "maxLength": 261 }
);

const SERVER_REFERENCE: &str =
    "HOST or HOST:PORT, such as mqtt.example:8883; an IPv6 address in []";

fn server_reference(text: &str) -> Result<ServerReference, Invalid> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    };
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match ipv6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok() || is_host_name(host),
    };
    if is_host && port.is_none_or(is_port) {
        Ok(ServerReference(text.into()))
    } else {
        Err(Invalid::not_a("server", text))
    }
}

scalar!(
    /// The word `passthrough`.
    struct Passthrough(&'static str):
    String, "passthrough, or a mapping with certificates", passthrough,
    { "enum": ["passthrough"] }
);

fn passthrough(text: &str) -> Result<Passthrough, Invalid> {
    match text {
        "passthrough" => Ok(Passthrough("passthrough")),
        _ => Err(Invalid::new(format!("{} is unknown", quote(text)))),
    }
}

/// What a pin is, for messages.
pub(in crate::config) const PIN: &str = "sha256/ and 44 characters of Base64, the SHA-256 of a \
    public key or certificate, as `mqtt-lb pin HOST:PORT` prints it";

scalar!(
    impl [] Pin: String, PIN, pin, { "type": "string", "pattern": "^sha256/[A-Za-z0-9+/]{43}=$" }
);

fn pin(text: &str) -> Result<Pin, Invalid> {
    text.parse().map_err(|_| Invalid::not_a("pin", text))
}
