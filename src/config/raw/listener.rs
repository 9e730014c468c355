//! The keys of a listener.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    authenticate::Authenticate,
    common::List,
    entries::Entries,
    identity::{ConnectCheck, ListenerTimeouts, Requirement, Rewrite},
    rules::Rule,
    websocket::WebSocket,
};
use crate::{
    config::{
        Bind,
        at::At,
        values::{
            AlpnName, FilePath, Name, Network, Number, Passthrough, ProxySource, Size, Text,
            TlvType,
        },
    },
    tls::TlsVersion,
};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Listener {
    /// The name of the listener in the access log and in metrics: printable, without spaces and
    /// quotes.
    pub(in crate::config) name: At<Name>,
    /// IP:PORT, "[IPV6]:PORT" or unix:/PATH. IPv6 sockets are IPv6 only, so that 0.0.0.0:1883 and
    /// "[::]:1883" can be listened on together. Port 0 takes any free port.
    pub(in crate::config) bind: At<Bind>,
    /// The name of the pool that this listener's clients go to.
    pub(in crate::config) pool: At<Text>,
    /// The networks whose clients may connect: a list, or a section with a `file`. Others are
    /// closed at accept, before TLS, without an answer. Where a PROXY header or X-Forwarded-For says
    /// who the client is, that address counts. Absent: all.
    pub(in crate::config) allow: Option<At<Entries<Network>>>,
    /// The networks whose clients may not connect, even if `allow` has them: a list, or a section
    /// with a `file`. Existing sessions stay. Absent: none.
    pub(in crate::config) deny: Option<At<Entries<Network>>>,
    /// Connections from these peers, and from no others, begin with a PROXY header (version 1 or 2)
    /// that says who the client is: it can be trusted only where clients cannot write it. Absent:
    /// no connection begins with one.
    pub(in crate::config) accept_proxy_protocol: Option<At<AcceptProxyProtocol>>,
    /// TLS from clients. All these files are read again when they change. `passthrough` in place of the section:
    /// the brokers are the clients' TLS servers; the proxy reads the server name in the ClientHello
    /// (SNI), decrypts nothing, and knows neither client ID nor username, so that the pool's
    /// `balance.key` is `sni` or `source_ip`. Absent: no TLS.
    #[serde(default, serialize_with = "word_or_section", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "passthrough_or_section")]
    pub(in crate::config) tls: Option<At<ListenerTls>>,
    /// What clients speak: `mqtt`, `websocket` (MQTT over WebSocket, for browsers), or both on one
    /// port, told apart by a client's first byte after PROXY header and TLS. Absent: `websocket` if
    /// that section is given, else `mqtt`.
    #[schemars(length(min = 1))]
    pub(in crate::config) protocols: Option<At<List<Protocol>>>,
    /// MQTT over WebSocket. Absent: its defaults, if `protocols` has websocket.
    pub(in crate::config) websocket: Option<At<WebSocket>>,
    /// How clients prove who they are, before their brokers hear of them. Absent: it is left to the
    /// brokers.
    pub(in crate::config) authenticate: Option<At<Authenticate>>,
    /// Who clients have to be: all entries have to hold. In templates: ${client_id}, ${username},
    /// ${source_ip}, ${listener}, ${sni}, ${tls_cn}, ${tls_san_dns}, ${tls_san_uri},
    /// ${tls_san_email}, ${tls_serial}, ${tls_fingerprint}, ${protocol_version} and ${jwt.CLAIM}.
    #[serde(default)]
    pub(in crate::config) require: At<List<Requirement>>,
    /// Changes to the CONNECT for the broker, after `require`; the rest of it stays byte for byte.
    /// Absent: none. The pool's `balance.key` is made of what the broker is sent.
    pub(in crate::config) rewrite: Option<At<Rewrite>>,
    /// `strict` refuses a CONNECT that violates the standard; `lenient` passes it on if it can be
    /// routed, as its broker may accept it.
    #[serde(default)]
    pub(in crate::config) connect: At<ConnectCheck>,
    /// Where clients may go: the first rule that holds decides, and clients for which none holds go
    /// to `pool`. Rules come after `rewrite`. A reload moves the sessions of clients whose rule has
    /// changed, at the `rebalance.rate` of their pool.
    #[serde(default)]
    pub(in crate::config) rules: At<List<Rule>>,
    /// Timeouts of this listener's sessions. Absent: those of the file.
    pub(in crate::config) timeouts: Option<At<ListenerTimeouts>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AcceptProxyProtocol {
    /// Networks and addresses of the balancers in front; `unix` on a listener that is a unix socket.
    #[schemars(length(min = 1))]
    pub(in crate::config) from: At<List<ProxySource>>,
    /// false: connections of these peers may also begin without a header, and then count as the
    /// peer's own. Only for balancers of which no client can write the first bytes, as those of one
    /// without a header could be a header of its own.
    #[serde(default = "yes")]
    pub(in crate::config) required: At<bool>,
    /// Types of TLVs in headers of version 2 that are kept for the log (`proxy_tlvs`) and for pools
    /// with send_proxy_protocol.tlvs, such as 0xEA: of each type the first, up to 16 of up to 256
    /// bytes. Absent: none.
    #[schemars(length(min = 1, max = 16))]
    pub(in crate::config) tlvs: Option<At<List<TlvType>>>,
}

fn yes() -> At<bool> {
    At::default_of(true)
}

/// What a listener's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Protocol {
    Mqtt,
    Websocket,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListenerTls {
    /// Certificates with their keys; required, except with `passthrough`. Of several, a client is
    /// shown the one that has the name it asks for (SNI), exactly or as *.DOMAIN; of several with
    /// that name (RSA and ECDSA), the first it can read. Without a name, or with one that none has:
    /// the first.
    #[schemars(length(min = 1))]
    pub(in crate::config) certificates: Option<At<List<Certificate>>>,
    /// Whether clients show a certificate: `none`; `optional`, which lets clients in that have none;
    /// `required`. One that is shown is always checked.
    #[serde(default)]
    pub(in crate::config) client_auth: At<ClientAuth>,
    /// CAs of the clients' certificates, PEM, any number; `optional` and `required` need it.
    pub(in crate::config) client_ca: Option<At<FilePath>>,
    /// Which client certificates are revoked: CRLs, PEM, one of each CA that signs clients, or the
    /// clients of that CA are refused. An outdated list counts, with a warning. Absent: revocation
    /// is not checked.
    pub(in crate::config) client_crl: Option<At<FilePath>>,
    /// The lowest version of TLS that is spoken. 1.0 and 1.1 are deprecated (RFC 8996).
    #[serde(default)]
    pub(in crate::config) min_version: At<TlsVersion>,
    /// The highest version of TLS that is spoken, for devices that fail with 1.3: not below
    /// `min_version`.
    #[serde(default = "newest_version")]
    pub(in crate::config) max_version: At<TlsVersion>,
    /// The most bytes of data in a TLS record to a client, for devices with a small receive buffer:
    /// 512 to 16KiB. The header and tag of a record, up to 29 bytes, come on top. It does not limit
    /// the records of clients.
    #[serde(default = "max_record")]
    pub(in crate::config) max_record: At<RecordSize>,
    /// How many tickets a client gets in a handshake, with which it resumes its session later: with
    /// TLS 1.3 up to 8, with 1.2 one. 0: none, for devices that fail with them.
    #[serde(default = "one_ticket")]
    pub(in crate::config) tickets: At<TicketCount>,
    /// The keys that encrypt tickets: with the same ones, a client resumes its session at any proxy
    /// of a fleet, and after a restart. Absent: keys that the proxy generates, and replaces every 6
    /// hours and at each reload.
    pub(in crate::config) ticket_keys: Option<At<TicketKeys>>,
    /// What is agreed on with clients that offer protocols (ALPN), the best first. A client that
    /// offers none of these is refused, one that offers nothing is let in. With `websocket`, http/1.1
    /// has to be one of them: it is what browsers offer. Absent: offers are ignored.
    #[schemars(length(min = 1))]
    pub(in crate::config) alpn: Option<At<List<AlpnName>>>,
    /// `passthrough`, which excludes the other keys: the brokers are the clients' TLS servers. The
    /// word alone can stand in place of the section. Absent: this proxy is their TLS server.
    pub(in crate::config) mode: Option<At<Passthrough>>,
}

type RecordSize = Size<512, { 1 << 14 }>;
type TicketCount = Number<u8, 0, 8>;

fn newest_version() -> At<TlsVersion> {
    At::default_of(TlsVersion::Tls13)
}

fn max_record() -> At<RecordSize> {
    At::default_of(Size(1 << 14))
}

/// A device has one connection, and gets its next ticket with it.
fn one_ticket() -> At<TicketCount> {
    At::default_of(Number(1))
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TicketKeys {
    /// One key a line, up to 16: 32 random bytes in Base64, as `openssl rand -base64 32` prints. The
    /// first encrypts, all decrypt: to rotate, append a line on all proxies, then move it to the top on
    /// all, and remove the old first line 12 hours later, the lifetime of a ticket. A ticket is of
    /// use where `client_auth`, CAs, CRLs and the names in the certificates are the same.
    pub(in crate::config) file: At<FilePath>,
}

impl ListenerTls {
    pub(in crate::config) fn is_passthrough(&self) -> bool {
        self.mode.as_ref().is_some_and(|mode| mode.value.is_some())
    }
}

/// Without its defaults, the section of a passthrough is the word.
#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn word_or_section<S: Serializer>(
    tls: &Option<At<ListenerTls>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match tls.as_ref().and_then(|tls| tls.value.as_ref()) {
        Some(tls) if tls.is_passthrough() => tls.mode.serialize(serializer),
        _ => tls.serialize(serializer),
    }
}

fn passthrough_or_section(generator: &mut SchemaGenerator) -> Schema {
    let section = generator.subschema_for::<ListenerTls>();
    json_schema!({ "anyOf": [generator.subschema_for::<Passthrough>(), section] })
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Certificate {
    /// PEM: the certificate, then those that lead to its CA.
    pub(in crate::config) cert: At<FilePath>,
    /// PEM: its key, not encrypted.
    pub(in crate::config) key: At<FilePath>,
    /// DER: the OCSP response for it, as `openssl ocsp -respout` writes, which clients that ask for
    /// one get with it (stapling); not after its nextUpdate, so renew the file in time. Absent: none.
    pub(in crate::config) ocsp: Option<At<FilePath>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}
