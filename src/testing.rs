//! What tests, benchmarks, fuzz targets and the demo use. Everything else is private, so that the
//! compiler finds what nobody uses.

mod client_policy;

pub mod access_log {
    pub use crate::access_log::{AccessLogs, field_names};
}
pub mod balance {
    pub use crate::balance::{Algorithm, Router, WeightedBroker};
}
pub mod config {
    pub use crate::config::{
        AccessLog, ActiveCheck, Address, Bind, CertificateFile, Config, Discover, Faults, Health,
        Idle, LOG_FIELDS, ListenerTls, LogEvents, LogLevel, LogLineFormat, LogTarget, OnDown,
        PassedTlvs, PathPattern, Pool, PoolTls, Probe, ProxyProtocolIn, ProxyProtocolOut, Records,
        RevocationFile, Rotate, Syslog, SyslogAddress, TcpKeepalive, TcpUserTimeout, Upstream,
        WebSocket, WhenFull, Workers, json_schema,
    };
}
pub mod control {
    pub use crate::control::run;
}
pub mod escape {
    pub use crate::escape::{is_unsafe, plain};
}
pub mod jwt {
    pub use crate::jwt::{Algorithm, Claims, JwtError, Keys, Verifier};
}
pub mod labels {
    pub use crate::labels::{EndBy, EndCause, EndPhase};
}
pub mod limits {
    pub use crate::limits::{AdmissionOutcome, ConnectionLimiter};
}
pub mod listener {
    pub use crate::listener::{Listener, ListenerPools, bind};
}
pub mod metrics {
    pub use crate::metrics::Metrics;
}
pub mod net {
    pub use crate::net::TcpOptions;
}
pub mod networks {
    pub use crate::networks::PrefixSet;
}
pub mod program_log {
    pub use crate::program_log::{PlainFields, ProgramLog};
}
pub mod proto {
    pub mod mqtt {
        pub use crate::proto::mqtt::{
            Connack, Connect, ConnectEdits, InvalidConnect, Malformed, PasswordEdit, Progress, Qos,
            RejectReason, RewriteError, Span, Strictness, Version, first_packet_is_auth,
            packet_len,
        };
        pub use crate::proto::mqtt::{connack, connect, reason, rewrite};
    }
    pub mod proxy_header {
        pub use crate::proto::proxy_header::{
            DetectedHeader, Header, HeaderError, HeaderProgress, MAX_HEADER_BYTES, detect, parse,
            write_v1, write_v2,
        };
    }
    pub mod websocket {
        pub mod frame {
            pub use crate::proto::websocket::frame::{FrameDecoder, MAX_CONTROL_BYTES, StreamEnd};
        }
        pub mod request {
            pub use crate::proto::websocket::request::{UpgradeRequest, parse};
        }
    }
}
pub mod rules {
    pub use super::client_policy::{ClientPolicy, QuotaPlace};
    pub use crate::rules::TextSet;
}
pub mod session {
    pub use crate::session::{ClientDirectory, ProcessContext, SESSION_ID_BITS};
}
pub mod snapshot {
    pub use crate::snapshot::Snapshot;
}
pub mod template {
    pub use crate::template::ClientFields;
}
pub mod tls {
    pub use crate::{
        net::{EstablishedTls, TlsReceived, TlsRole},
        tls::secret_capture,
    };
}
pub mod upstream {
    pub use crate::upstream::router;
    pub use crate::upstream::{
        AllBrokersFailed, Broker, BrokerOverview, BrokerState, BrokerStatus, Endpoint, Lease,
        Members, Pick, Pool, ProbeResult, RecoveryRound, RecoveryStep, WorkerSignal,
    };
}
pub mod worker {
    pub use crate::worker::{Worker, WorkerSetup, WorkerUpdate};
}
