//! The configuration, validated: every value here is usable as it stands.
//!
//! A file goes through [`tree`] (YAML with positions), [`de`] (serde, every fault noted), [`raw`]
//! (every key) and [`validate`] (relations and files) to the types of this module.

mod access_log;
mod at;
mod configuration;
mod de;
mod effective;
mod fault;
mod identity;
mod idle;
mod limit_warnings;
mod list_file;
mod listener;
mod load;
mod missing_fact;
mod passthrough;
mod pool;
mod proxy_protocol;
mod raw;
mod read_file;
mod regular_file;
mod rule_warnings;
mod schema;
mod secret;
mod settings;
mod tls_warnings;
mod tree;
mod validate;
mod values;
mod warnings;
mod websocket;

pub use access_log::{
    AccessLog, LOG_FIELDS, LogEvents, LogLineFormat, LogTarget, Rotate, Syslog, SyslogAddress,
    WhenFull,
};
pub use configuration::Config;
pub(crate) use fault::Fault;
pub use fault::Faults;
pub(crate) use identity::{
    Identity, Jwt, PasswordRewrite, RequiredField, Requirement, Rewrite, RewrittenNames,
    TokenSource,
};
pub use idle::Idle;
pub use listener::{Bind, CertificateFile, ListenerTls, RevocationFile};
pub(crate) use listener::{Listener, NetworkAccess, StapleFile, TicketKeyFile, TlsFileWarning};
pub use pool::{
    ActiveCheck, Address, Discover, Health, OnDown, Pool, PoolTls, Probe, Records, Upstream,
};
pub(crate) use pool::{Admission, Balance, Passive, RetryOn};
pub(crate) use proxy_protocol::WRITTEN_TLV_TYPES;
pub use proxy_protocol::{PassedTlvs, ProxyProtocolIn, ProxyProtocolOut};
pub(crate) use read_file::{FileState, ReadFile};
pub use schema::json_schema;
pub(crate) use secret::Secret;
pub(crate) use settings::{
    Admin, BanRate, Dns, Drain, Limits, Log, ProgramLogFormat, Quota, Rate, Runtime, Timeouts,
    USERNAME_QUOTA, Upgrade,
};
pub use settings::{LogLevel, TcpKeepalive, TcpUserTimeout, Workers};
pub(crate) use values::is_name;
pub use websocket::{PathPattern, WebSocket};
