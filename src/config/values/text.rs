//! Names, paths and other texts.

use std::{fmt, sync::Arc};

use rustls::pki_types;

use super::scalar::{Invalid, scalar};
use crate::{
    balance::KeyTemplate,
    config::{LOG_FIELDS, LogLineFormat, fault::quote},
};

pub(in crate::config) const DNS_NAME: &str = "a name in DNS, such as brokers.internal";
const HTTP_PATH: &str = "/, and what a URL has after it: letters, digits, \
                                               -._~!$&'()*+,;=:@/? and %XX for anything else";
pub(in crate::config) const SERVER_NAME: &str = "a host name or an IP address";

/// A text that is kept as it is, unless the check says what is wrong with it.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $allowed:expr, $wrong:expr, $schema:tt) => {
        scalar!(
            $(#[$doc])*
            #[derive(Eq)]
            struct $name(Arc<str>):
            String, $allowed, |text: &str| {
                let wrong: fn(&str) -> Option<&'static str> = $wrong;
                match wrong(text) {
                    None => Ok($name(text.into())),
                    Some(wrong) => Err(Invalid::new(format!("{} {wrong}", quote(text)))),
                }
            },
            $schema
        );
    };
}

text!(
    /// A name; it becomes a metric label and a part of log lines.
    Name,
    "printable text without spaces, quotes, backslashes and ${",
    |text| (!is_name(text)).then_some("is not a name"),
    { "type": "string", "minLength": 1, "pattern": "^[^\\s\"'\\\\]+$" }
);
text!(
    /// A text that is looked up.
    Text, "a name", |_| None, { "type": "string" }
);
text!(
    /// The path of a file.
    FilePath,
    "the path of a file",
    |text| text.contains(char::is_control).then_some("has a control character"),
    { "type": "string" }
);
text!(
    /// A name in DNS, of a host or of other records.
    DnsName,
    DNS_NAME,
    |text| (!is_host_name(text)).then_some("is not a name in DNS"),
    { "type": "string", "maxLength": 254 }
);
text!(
    /// A string of MQTT: up to 65,535 bytes, and control characters should not be in it (3.1.1 and
    /// 5.0, section 1.5).
    MqttString,
    "up to 65535 bytes without control characters",
    |text| (text.len() > usize::from(u16::MAX) || text.contains(char::is_control))
        .then_some("cannot be sent"),
    { "type": "string", "maxLength": 65535 }
);
text!(
    /// The path of a request, with its query (RFC 3986, sections 3.3 and 3.4).
    HttpPath,
    HTTP_PATH,
    |text| {
        let sent = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
        (!text.starts_with('/') || !text.bytes().all(sent)).then_some("is not a path")
    },
    { "type": "string", "pattern": "^/" }
);
text!(
    /// An origin as browsers write it (RFC 6454, section 6.2): no path, no default port.
    Origin,
    "SCHEME://HOST or SCHEME://HOST:PORT, such as https://app.example, without a path and without \
     the scheme's own port; or \"null\"",
    |text| (text != "null" && !is_origin(text)).then_some("is not an origin"),
    { "type": "string", "pattern": "^null$|^[^/]+://[^/]+$" }
);
text!(
    /// APP-NAME: RFC 5424, 6.2.5.
    AppName,
    "1 to 48 printable characters of ASCII, without spaces",
    |text| {
        let valid = (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        (!valid).then_some("is not the name of an application")
    },
    { "type": "string", "pattern": "^[!-~]{1,48}$" }
);
text!(
    /// The name of a protocol (RFC 7301, section 3.1).
    AlpnName,
    "names of 1 to 255 bytes, such as mqtt",
    |text| (!(1..=255).contains(&text.len())).then_some("is not the name of a protocol"),
    { "type": "string", "minLength": 1, "maxLength": 255 }
);
text!(
    /// A subprotocol of WebSocket: a token of HTTP (RFC 6455, section 4.1; RFC 9110, 5.6.2).
    Subprotocol,
    "none, or the name of a subprotocol, such as mqtt: letters, digits and !#$%&'*+-.^_`|~",
    |text| {
        let may_be_in_it =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_token = !text.is_empty() && text.bytes().all(may_be_in_it);
        (!is_token).then_some("is not the name of a subprotocol")
    },
    { "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }
);
text!(
    /// What a certificate is for.
    ServerName,
    SERVER_NAME,
    |text| pki_types::ServerName::try_from(text).err().map(|_| "is neither"),
    { "type": "string" }
);

/// Whether a text can be a name.
pub(crate) fn is_name(text: &str) -> bool {
    // What escaping leaves as it is can neither break a line nor end a quoted string.
    let plain = |c: char| !c.is_whitespace() && c.escape_debug().count() == 1;
    !text.is_empty() && text.chars().all(plain) && !text.contains("${")
}

/// RFC 1123, section 2.1, and the underscores that names inside clusters have. A last label of
/// digits is a mistyped IPv4 address.
pub(super) fn is_host_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let valid = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number =
        labels.rsplit('.').next().is_none_or(|label| label.bytes().all(|b| b.is_ascii_digit()));
    labels.len() <= 253 && labels.split('.').all(valid) && !last_is_number
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "://",
    };
    !scheme.is_empty()
        && scheme.bytes().all(is_scheme)
        && !host.is_empty()
        && host.bytes().all(is_plain)
        && !host.ends_with(default_port)
}

/// What a pool hashes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) struct Key(pub(in crate::config) KeyTemplate, Arc<str>);

impl Default for Key {
    fn default() -> Self {
        Self(KeyTemplate::default(), "client_id".into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

scalar!(
    impl [] Key: Template, "the name of a variable, such as client_id, or a template", key,
    {
        "anyOf": [
            { "enum": [
                "client_id", "username", "source_ip", "listener", "sni", "tls_cn", "tls_san_dns",
                "tls_san_uri", "tls_san_email", "tls_serial", "tls_fingerprint", "protocol_version",
            ] },
            { "type": "string", "pattern": "\\$\\{[^}]+\\}|^jwt\\." },
        ],
    }
);

fn key(text: &str) -> Result<Key, Invalid> {
    let template = text.parse();
    // It says itself what is allowed.
    let template = template.map_err(|error| Invalid::new(format!("{error}")).allowed(""))?;
    Ok(Key(template, text.into()))
}

impl fmt::Display for LogLineFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Template(text) => text,
        })
    }
}

scalar!(
    impl [] LogLineFormat: Template, "json, text, or one line with ${field} variables", log_format,
    { "anyOf": [{ "enum": ["json", "text"] }, { "type": "string", "pattern": "\\$\\{" }] }
);

fn log_format(text: &str) -> Result<LogLineFormat, Invalid> {
    match text {
        "json" => return Ok(LogLineFormat::Json),
        "text" => return Ok(LogLineFormat::Text),
        _ if !text.contains("${") || text.contains(char::is_control) => {
            return Err(Invalid::not_a("format", text));
        }
        _ => {}
    }
    let fields = || LOG_FIELDS.join(", ");
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let (field, after) = after.split_once('}').ok_or_else(|| {
            Invalid::new(format!("{} has ${{ without }}", quote(text))).allowed(fields())
        })?;
        if !LOG_FIELDS.contains(&field) {
            return Err(Invalid::not_a("field", field).allowed(fields()));
        }
        rest = after;
    }
    Ok(LogLineFormat::Template(text.into()))
}
