//! A dozen clients of three protocol versions.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use mqtt_lb::testing::proto::mqtt::Version;
use rumqttc::{Event, Outgoing, Packet, v5};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::mqtt31;

/// Who connects.
pub(crate) struct Client {
    /// Empty for the one that is assigned an ID.
    pub(crate) id: &'static str,
    pub(crate) version: Version,
    pub(crate) username: Option<&'static str>,
    /// Whether it keeps a session on its broker, leaves, and connects again.
    pub(crate) comes_back: bool,
}

pub(crate) const CLIENTS: &[Client] = &[
    Client::new("meter-0001", Version::V31),
    Client::new("meter-0002", Version::V31),
    Client::new("meter-0003", Version::V31).named("grid"),
    Client::new("lamp-hall", Version::V311),
    Client::new("lamp-garden", Version::V311),
    Client::new("thermostat-7", Version::V311).named("home"),
    Client::new("tracker-17", Version::V311).named("fleet").who_comes_back(),
    Client::new("camera-north", Version::V5),
    Client::new("door-lock-3", Version::V5).named("home"),
    Client::new("phone-of-ada", Version::V5).named("ada"),
    Client::new("", Version::V5).who_comes_back(),
    Client::new("tracker-42", Version::V5).named("fleet").who_comes_back(),
];

/// How long a session outlives its connection in MQTT 5.0, in seconds: an hour.
const SESSION_EXPIRY: u32 = 3600;

/// How long a client that leaves may take to say so.
const FAREWELL: Duration = Duration::from_secs(2);

/// What fits into a client's queue of requests; only its DISCONNECT goes through there.
const QUEUE: usize = 1;

/// A client that is connected.
pub(crate) struct Session {
    /// Whether the broker said that it had kept the client's session.
    pub(crate) present: bool,
    /// The ID that a client without one was told (5.0, section 3.2.2.3.7).
    pub(crate) assigned_id: Option<String>,
    handle: Handle,
    task: JoinHandle<()>,
}

/// How to tell a client to leave.
enum Handle {
    V31(oneshot::Sender<()>),
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Client {
    const fn new(id: &'static str, version: Version) -> Self {
        Self { id, version, username: None, comes_back: false }
    }

    const fn named(self, username: &'static str) -> Self {
        Self { username: Some(username), ..self }
    }

    const fn who_comes_back(self) -> Self {
        Self { comes_back: true, ..self }
    }

    pub(crate) fn shown_id(&self) -> &str {
        if self.id.is_empty() { "(no client ID)" } else { self.id }
    }

    /// Returns once the broker has let the client in; it then stays in the background. `id`: its own,
    /// or the one that it was assigned before.
    pub(crate) async fn connect(&self, id: &str, proxy: SocketAddr) -> anyhow::Result<Session> {
        match self.version {
            Version::V31 => self.connect_v31(proxy).await,
            Version::V311 => self.connect_v311(proxy).await,
            Version::V5 => self.connect_v5(id, proxy).await,
        }
    }

    async fn connect_v31(&self, proxy: SocketAddr) -> anyhow::Result<Session> {
        ensure!(!self.comes_back, "a CONNACK of 3.1 cannot say that a session was found");
        let stream = mqtt31::connect(proxy, self.id, self.username).await?;
        let (leave, told) = oneshot::channel();
        let task = tokio::spawn(mqtt31::stay(stream, told));
        Ok(Session { present: false, assigned_id: None, handle: Handle::V31(leave), task })
    }

    async fn connect_v311(&self, proxy: SocketAddr) -> anyhow::Result<Session> {
        let mut options = rumqttc::MqttOptions::new(self.id, proxy.ip().to_string(), proxy.port());
        options.set_clean_session(!self.comes_back);
        if let Some(username) = self.username {
            options.set_credentials(username, "not-in-any-log");
        }
        let (client, mut events) = rumqttc::AsyncClient::new(options, QUEUE);
        let present = loop {
            if let Event::Incoming(Packet::ConnAck(connack)) = events.poll().await? {
                break connack.session_present;
            }
        };
        let task = tokio::spawn(async move {
            while let Ok(event) = events.poll().await
                && event != Event::Outgoing(Outgoing::Disconnect)
            {}
        });
        Ok(Session { present, assigned_id: None, handle: Handle::V311(client), task })
    }

    async fn connect_v5(&self, id: &str, proxy: SocketAddr) -> anyhow::Result<Session> {
        let mut options = v5::MqttOptions::new(id, proxy.ip().to_string(), proxy.port());
        options.set_clean_start(!self.comes_back);
        options.set_session_expiry_interval(self.comes_back.then_some(SESSION_EXPIRY));
        if let Some(username) = self.username {
            options.set_credentials(username, "not-in-any-log");
        }
        let (client, mut events) = v5::AsyncClient::new(options, QUEUE);
        let (present, assigned_id) = loop {
            if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::ConnAck(connack)) =
                events.poll().await?
            {
                let properties = connack.properties;
                let assigned = properties.and_then(|all| all.assigned_client_identifier);
                break (connack.session_present, assigned);
            }
        };
        let task = tokio::spawn(async move {
            while let Ok(event) = events.poll().await
                && event != v5::Event::Outgoing(Outgoing::Disconnect)
            {}
        });
        Ok(Session { present, assigned_id, handle: Handle::V5(client), task })
    }
}

impl Session {
    /// Sends DISCONNECT and closes.
    pub(crate) async fn leave(self) {
        // One that is gone already cannot be told.
        match self.handle {
            Handle::V31(leave) => _ = leave.send(()),
            Handle::V311(client) => _ = client.disconnect().await,
            Handle::V5(client) => _ = client.disconnect().await,
        }
        let _ = timeout(FAREWELL, self.task).await;
    }
}
