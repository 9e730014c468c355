//! MQTT over WebSocket: sessions, refusals, faults in frames, and what they may cost.

pub(crate) mod client;
mod faults;
mod forwarded;
mod loads;
mod over_tls;
mod paths;
mod pings;
mod proxy_protocol;
mod refusals;
mod sessions;

use crate::{broker::Broker, config::Config};

/// A proxy with a listener `ws` as well as `mqtt`.
fn config<'a>(brokers: impl IntoIterator<Item = &'a Broker>) -> Config {
    Config::of(brokers).another_listener("name: ws, websocket: {}")
}
