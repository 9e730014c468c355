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
mod listener;
mod load;
mod pool;
mod raw;
mod schema;
mod secret;
mod settings;
mod tree;
mod validate;
mod values;
mod warnings;

pub use access_log::{
    AccessLog, LOG_FIELDS, LogEvents, LogLineFormat, LogTarget, Rotate, Syslog, SyslogAddress,
    WhenFull,
};
pub use configuration::Config;
pub use fault::{Fault, Faults};
pub use listener::{
    Bind, CertificateFile, Listener, ListenerTls, Networks, ProxyProtocolIn, RevocationFile,
    WebSocket,
};
pub use pool::{
    ActiveCheck, Address, Admission, Balance, Discover, Health, OnDown, Passive, Pool, PoolTls,
    Probe, ProxyProtocolOut, Records, RetryOn, Upstream,
};
pub use schema::json_schema;
pub use secret::Secret;
pub use settings::{
    Admin, Dns, Drain, Idle, Limits, Log, LogLevel, ProgramLogFormat, Rate, Runtime, TcpKeepalive,
    TcpUserTimeout, Timeouts, Workers,
};
pub use values::is_name;
