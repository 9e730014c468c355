//! `rumqttd PORT VERSION`: the broker rumqttd for MQTT 3.1.1 (4) or 5.0 (5), until it is stopped.

use std::{collections::HashMap, env, error::Error, net::Ipv4Addr};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Room for a packet with a payload of 1 MiB.
const MAX_PACKET_BYTES: usize = 2 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(port), Some(version)) = (arguments.next(), arguments.next()) else {
        return Err("usage: rumqttd PORT VERSION".into());
    };
    let listener = ServerSettings {
        name: "mqtt".to_owned(),
        listen: (Ipv4Addr::LOCALHOST, port.parse()?).into(),
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: MAX_PACKET_BYTES,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let listeners = Some(HashMap::from([("mqtt".to_owned(), listener)]));
    let router = RouterConfig {
        max_connections: 1000,
        max_outgoing_packet_count: 200,
        max_segment_size: MAX_PACKET_BYTES,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let config = match version.as_str() {
        "4" => Config { router, v4: listeners, ..Config::default() },
        "5" => Config { router, v5: listeners, ..Config::default() },
        other => return Err(format!("no version of rumqttd: {other}").into()),
    };
    Ok(Broker::new(config).start()?)
}
