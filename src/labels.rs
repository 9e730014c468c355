//! The fixed values of log fields and metric labels, which log lines and metrics share.

/// Defines an enum whose variants have one fixed name in logs and metric labels.
macro_rules! named {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every value, in order of declaration.
            $vis const ALL: &[Self] = &[$(Self::$variant,)+];

            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// What happened.
    pub enum Event {
        /// The client got its CONNACK, or its broker the ClientHello that is passed through, and the
        /// relay began.
        Connect = "connect",
        /// A connection with a `connect` event ended.
        Disconnect = "disconnect",
        /// A connection ended before it became a session.
        Reject = "reject",
        /// The client closed the connection without having sent anything.
        Probe = "probe",
        /// An address, a client ID or a username was banned.
        Ban = "ban",
    }
}

named! {
    /// The layers between TCP or a unix socket and MQTT.
    pub enum Transport {
        Tcp = "tcp",
        Unix = "unix",
        Tls = "tls",
        /// TLS that is passed through to the broker.
        TlsPassthrough = "tls_passthrough",
        /// MQTT over WebSocket.
        Ws = "ws",
        /// MQTT over WebSocket over TLS.
        Wss = "wss",
    }
}

impl Transport {
    /// The transport of WebSocket over the same TCP, unix socket or TLS.
    pub const fn with_websocket(self) -> Self {
        match self {
            Self::Tcp | Self::Unix | Self::Ws => Self::Ws,
            Self::Tls | Self::Wss => Self::Wss,
            // Whatever is inside is not known.
            Self::TlsPassthrough => Self::TlsPassthrough,
        }
    }
}

named! {
    /// Why this broker was chosen.
    pub enum RouteKind {
        /// The first choice of the client's key.
        Hash = "hash",
        /// A later choice, because the earlier ones were unavailable.
        Fallback = "fallback",
        /// A later choice, because the first was over its share of the load.
        Bounded = "bounded",
        /// Another broker of the pool named this one in its CONNACK.
        Referred = "referred",
        /// The client has no ID, or with TLS passed through no address.
        EmptyId = "empty_id",
        /// Chosen by client ID, or by address if TLS is passed through, because the client lacks the
        /// fields of the pool's key.
        FallbackKey = "fallback_key",
        /// The pool's algorithm uses no key.
        Balanced = "balanced",
    }
}

named! {
    /// Who ended the connection.
    pub enum EndBy {
        Client = "client",
        Upstream = "upstream",
        Proxy = "proxy",
    }
}

named! {
    /// The phase in which the connection ended.
    pub enum EndPhase {
        /// Before the CONNECT: PROXY protocol, TLS, WebSocket. With TLS passed through: until the
        /// ClientHello is complete.
        Handshake = "handshake",
        /// While the CONNECT was read and checked.
        Connect = "connect",
        Dial = "dial",
        /// After the CONNECT was forwarded, before the CONNACK.
        Connack = "connack",
        Relay = "relay",
    }
}

named! {
    /// Why the connection ended.
    pub enum EndCause {
        /// An orderly end of the stream.
        Closed = "closed",
        Reset = "reset",
        /// A deadline of the configuration passed.
        Timeout = "timeout",
        /// The client sent nothing for longer than its keep alive allows.
        Idle = "idle",
        /// The CONNECT violated the standard.
        Malformed = "malformed",
        /// A limit of the configuration was reached.
        Limit = "limit",
        /// The listener does not serve the client's network.
        Denied = "denied",
        /// A CONNACK other than "accepted", or a client ID that the pool does not accept.
        Refused = "refused",
        /// No broker of the pool was available.
        NoUpstream = "no_upstream",
        /// The proxy is shutting down.
        Drain = "drain",
        /// The session's broker was found down.
        Down = "down",
        /// The session's broker is no longer in the configuration.
        Removed = "removed",
        /// The session moves to its preferred broker, which is available again.
        Rebalance = "rebalance",
        /// The rules of the listener have changed, and now refuse the client.
        Rule = "rule",
        /// The client opened a newer session.
        TakenOver = "taken_over",
        /// Another device with the same client ID connected.
        Duplicate = "duplicate",
        /// A TLS 1.2 key has encrypted nearly as many records as it may.
        KeyLimit = "key_limit",
        /// The client's token expired.
        Expired = "expired",
        /// The operator ended the session.
        Kicked = "kicked",
        /// The client's address, client ID or username is banned.
        Banned = "banned",
        /// A system call failed (`detail` has the error), or the proxy itself: a panic.
        Error = "error",
    }
}

named! {
    /// Why a session stays in its process when the others move to another one.
    pub(crate) enum StayReason {
        /// It ends: its broker has refused it, or the proxy is about to end it.
        Ending = "ending",
        /// No descriptor was free to pass its sockets on, or the kernel refused one of them.
        Descriptors = "descriptors",
        /// The bytes that it has not sent yet are too many for a message to the other process.
        Size = "size",
        /// The other process could not read its state.
        State = "state",
        /// The configuration of the other process does not have its pool.
        Pool = "pool",
        /// The other process is ending its own sessions.
        Draining = "draining",
        /// The other process refused it for a reason that this version does not know.
        Refused = "refused",
        /// The hand-over ended before the other process had answered.
        Interrupted = "interrupted",
    }
}

impl StayReason {
    /// The reason with this name, from a process that may have another version.
    pub(crate) fn from_name(name: &str) -> Self {
        let known = Self::ALL.iter().find(|reason| reason.as_str() == name);
        known.copied().unwrap_or(Self::Refused)
    }
}

named! {
    /// What a ban applies to.
    pub enum BanKind {
        Ip = "ip",
        ClientId = "client_id",
        Username = "username",
    }
}

named! {
    /// Why a ban was imposed: by the operator, or because a rate of `limits` was exceeded.
    pub enum BanReason {
        Operator = "operator",
        HandshakesPerIp = "handshakes_per_ip",
        ConnectsPerClientId = "connects_per_client_id",
        ConnectsPerUsername = "connects_per_username",
        BadCredentialsPerIp = "bad_credentials_per_ip",
    }
}
