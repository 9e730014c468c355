//! The fixed words of log fields and metric labels: log line and metric agree in them.

/// An enum whose variants are known by one fixed name in the log and in metric labels.
macro_rules! named {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// What happened.
    pub enum Event {
        /// The client got its CONNACK and the relay began.
        Connect = "connect",
        /// A connection that had been written as `connect` ended.
        Disconnect = "disconnect",
        /// A connection ended before it became a session.
        Reject = "reject",
        /// A connection ended by its client, which had sent nothing.
        Probe = "probe",
    }
}

named! {
    /// What carries the client's bytes.
    pub enum Transport {
        Tcp = "tcp",
        Unix = "unix",
        Tls = "tls",
        /// MQTT over WebSocket.
        Ws = "ws",
        /// MQTT over WebSocket over TLS.
        Wss = "wss",
    }
}

named! {
    /// Why this broker was chosen.
    pub enum RouteKind {
        /// The first choice of the client's key.
        Hash = "hash",
        /// A later choice, because an earlier one could not serve.
        Fallback = "fallback",
        /// A later choice, because the first was over its share of the load.
        Bounded = "bounded",
        /// Another broker of the pool named this one in its CONNACK.
        Referred = "referred",
        /// The client has no ID.
        EmptyId = "empty_id",
        /// By the client ID, as the fields of the pool's key are absent.
        FallbackKey = "fallback_key",
        /// The pool's algorithm looks at no key.
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
    /// In which phase of its life the connection ended.
    pub enum EndPhase {
        /// Before the first byte of the CONNECT was wanted.
        Handshake = "handshake",
        /// While the CONNECT was read and judged.
        Connect = "connect",
        Dial = "dial",
        /// After the CONNECT was sent on, before the CONNACK.
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
        /// Nothing was sent for longer than the keep alive allows.
        Idle = "idle",
        /// The CONNECT broke the standard.
        Malformed = "malformed",
        /// A limit of the configuration was reached.
        Limit = "limit",
        /// A CONNACK other than "accepted", or a client ID the pool does not take.
        Refused = "refused",
        /// No broker of the pool could serve.
        NoUpstream = "no_upstream",
        /// The proxy is shutting down.
        Drain = "drain",
        /// The session's broker was found down.
        Down = "down",
        /// The session's broker is no longer in the configuration.
        Removed = "removed",
        /// The session's home is another broker, now that there is one again.
        Rebalance = "rebalance",
        /// The client has a newer session, on another broker or in this one's place.
        TakenOver = "taken_over",
        /// Its TLS 1.2 has made as many records as one key may.
        KeyLimit = "key_limit",
        /// The operator ended the session.
        Kicked = "kicked",
        /// The system refused an operation; `detail` has its words. Or a fault of the proxy: a panic.
        Error = "error",
    }
}
