//! The keys of a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    authenticate::Authenticate,
    common::List,
    entries::Entries,
    identity::{ConnectCheck, ListenerTimeouts, Requirement, Rewrite},
    rules::Rule,
};
use crate::{
    config::{
        Bind,
        at::At,
        values::{AlpnName, FilePath, HttpPath, Name, Network, Origin, ProxySource, Text},
    },
    tls::MinVersion,
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
    /// TLS from clients. Absent: none. SIGHUP reads all these files again.
    pub(in crate::config) tls: Option<At<ListenerTls>>,
    /// MQTT over WebSocket, for browsers; a request must offer the subprotocol mqtt or mqttv3.1.
    /// Absent: MQTT itself.
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
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListenerTls {
    /// Certificates with their keys. Of several, a client is shown the one that has the name it asks
    /// for (SNI), exactly or as *.DOMAIN; of several with that name (RSA and ECDSA), the first it can
    /// read. Without a name, or with one that none has: the first.
    #[schemars(length(min = 1))]
    pub(in crate::config) certificates: At<List<Certificate>>,
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
    pub(in crate::config) min_version: At<MinVersion>,
    /// What is agreed on with clients that offer protocols (ALPN), the best first. A client that
    /// offers none of these is refused, one that offers nothing is let in. With `websocket`, http/1.1
    /// has to be one of them: it is what browsers offer. Absent: offers are ignored.
    #[schemars(length(min = 1))]
    pub(in crate::config) alpn: Option<At<List<AlpnName>>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Certificate {
    /// PEM: the certificate, then those that lead to its CA.
    pub(in crate::config) cert: At<FilePath>,
    /// PEM: its key, not encrypted.
    pub(in crate::config) key: At<FilePath>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WebSocket {
    /// The path of a request; a query after it is ignored.
    #[serde(default = "mqtt")]
    pub(in crate::config) path: At<HttpPath>,
    /// Networks of HTTP proxies in front of this one. Their X-Forwarded-For says who the client is:
    /// the last address in it that is not in these networks. Absent: the header is ignored.
    #[schemars(length(min = 1))]
    pub(in crate::config) forwarded_for: Option<At<List<Network>>>,
    /// Whose pages may connect, as browsers write it in Origin; other clients send no Origin. Absent:
    /// any. Passwords keep strangers out, this keeps strangers' pages out.
    #[schemars(length(min = 1))]
    pub(in crate::config) origins: Option<At<List<Origin>>>,
}

fn mqtt() -> At<HttpPath> {
    At::default_of(HttpPath("/mqtt".into()))
}
