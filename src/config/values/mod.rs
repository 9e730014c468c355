//! Single values of the file: each type reads, prints and describes itself.

mod address;
mod environment;
mod number;
mod scalar;
mod template;
mod text;
mod tlv;
mod words;

pub(super) use address::{ADDRESS, BIND, IpPort, Network, ProxySource, SYSLOG, SourceAddress};
pub(super) use environment::expand;
pub(super) use number::{
    Factor, HOUR, Limit, Number, Percentage, Size, Time, YEAR, at_number, at_size, at_time,
};
pub(super) use scalar::{Scalar, TEMPLATE, parse};
pub(super) use template::{NoPassword, PatternText, TemplateText};
pub(crate) use text::is_name;
pub(super) use text::{
    AlpnName, AppName, DNS_NAME, DnsName, FilePath, HttpPath, Key, MqttString, Name, Origin,
    SERVER_NAME, ServerName, Subprotocol, Text,
};
pub(super) use tlv::{TlvSelection, TlvType, WORD_OR_LIST};
pub(super) use words::{MqttVersion, Passthrough, ServerReference};
