//! Three MQTT brokers inside this process.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context;
use rumqttd::{ConnectionSettings, RouterConfig, ServerSettings};
use tokio::{net::TcpStream, time::sleep};

use crate::version_splitter::VersionSplitter;

const NAMES: [&str; 3] = ["broker-1", "broker-2", "broker-3"];

/// The brokers, and what they themselves have seen.
pub(crate) struct Brokers {
    brokers: Vec<Broker>,
    visits: Visits,
}

pub(crate) struct Broker {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
}

/// Every CONNECT that reached a broker: the client ID, and the broker.
pub(crate) type Visits = Arc<Mutex<Vec<(String, &'static str)>>>;

impl Brokers {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let visits = Visits::default();
        let mut brokers = Vec::new();
        for name in NAMES {
            let (v4, v5) = (free_port()?, free_port()?);
            start_rumqttd(name, v4, v5)?;
            is_up(v4).await;
            is_up(v5).await;
            let address =
                VersionSplitter { broker: name, v4, v5, visits: visits.clone() }.open().await?;
            brokers.push(Broker { name, address });
        }
        Ok(Self { brokers, visits })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter()
    }

    /// The broker of each CONNECT that this client has sent so far.
    pub(crate) fn visits_of(&self, client_id: &str) -> Vec<&'static str> {
        let visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.iter().filter(|(id, _)| id == client_id).map(|&(_, broker)| broker).collect()
    }
}

/// A port that is free now, and most likely still is in a moment.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(socket.local_addr()?)
}

/// One broker with a listener for each of the versions it knows; it runs as long as the process.
fn start_rumqttd(name: &'static str, v4: SocketAddr, v5: SocketAddr) -> anyhow::Result<()> {
    let listeners = |listen| Some(HashMap::from([("mqtt".to_owned(), settings(name, listen))]));
    let config = rumqttd::Config {
        router: RouterConfig {
            max_connections: 1000,
            max_outgoing_packet_count: 200,
            max_segment_size: 1024 * 1024,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: listeners(v4),
        v5: listeners(v5),
        ..rumqttd::Config::default()
    };
    // A failure shows as a port that never opens.
    let run = move || drop(rumqttd::Broker::new(config).start());
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

fn settings(name: &str, listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 1024 * 1024,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

async fn is_up(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
}
