//! The proxy: the library's own composition root, on a configuration like any other.

use std::{
    fmt::Write,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use mqtt_lb::testing::{
    config::Config, control, metrics::Metrics, program_log::ProgramLog, upstream,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};

use crate::{
    brokers::{Brokers, free_port},
    paint::Paint,
};

/// MQTT's registered ports, without and with TLS, the usual one for WebSocket, and the one that the
/// example configuration has for admin.
const USUAL_PORTS: [u16; 4] = [1883, 8883, 8083, 9883];

pub(crate) struct Proxy {
    pub(crate) mqtt: SocketAddr,
    pub(crate) mqtts: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) admin: SocketAddr,
    folder: PathBuf,
    config: Config,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

impl Proxy {
    /// Returns when clients can connect.
    pub(crate) async fn start(folder: &Path, brokers: &Brokers) -> anyhow::Result<Self> {
        let [mqtt, mqtts, ws, admin] = USUAL_PORTS.map(free_or_any);
        let (mqtt, mqtts, ws, admin) = (mqtt?, mqtts?, ws?, admin?);
        let file = config_file(folder);
        fs::write(&file, yaml([mqtt, mqtts, ws, admin], brokers))?;
        let config = Config::load(&file).map_err(|faults| anyhow!("{faults}"))?;
        let thread = thread::Builder::new().name("proxy".to_owned()).spawn({
            let config = config.clone();
            move || {
                control::run(
                    config,
                    &file,
                    &Metrics::new(),
                    ProgramLog::default(),
                    Box::new(|_| ()),
                )
            }
        })?;
        // The admin listener is bound after those for MQTT.
        while TcpStream::connect(admin).await.is_err() {
            if thread.is_finished() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let proxy = Self { mqtt, mqtts, ws, admin, folder: folder.to_owned(), config, thread };
        if proxy.thread.is_finished() {
            proxy.wait().await?;
            bail!("it has ended");
        }
        Ok(proxy)
    }

    pub(crate) fn access_log(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    /// The broker that a client ID belongs to: what `mqtt-lb route` says. The hash alone decides,
    /// so nobody needs to ask the running proxy.
    pub(crate) fn route(&self, client_id: &str) -> Option<&str> {
        let pool = self.config.pools.first()?;
        let all_up = |_| Some(0);
        let broker = upstream::router(pool.balance.algorithm, &pool.upstreams)
            .pick(client_id.as_bytes(), &all_up)?;
        Some(&*pool.upstreams.get(broker)?.name)
    }

    /// Ends the proxy as a service manager would, and waits for it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        kill_process(getpid(), Signal::TERM)?;
        self.wait().await
    }

    /// Waits for the proxy to end.
    pub(crate) async fn wait(self) -> anyhow::Result<()> {
        // On another thread: this one runs the version splitters, through which sessions end.
        let joined = spawn_blocking(|| self.thread.join()).await?;
        joined.map_err(|_| anyhow!("the proxy has panicked"))?
    }

    pub(crate) fn print_what_to_try(&self, paint: Paint) {
        let Self { mqtt, admin, .. } = self;
        let (port, device) = (mqtt.port(), "my-device");
        let home = self.route(device);
        // Each has one chance in three.
        let mut phones = (1..100).map(|n| format!("my-phone-{n}"));
        let phone = phones.find(|id| self.route(id) == home).unwrap_or_default();
        let config = config_file(&self.folder);
        let config = config.display();
        println!(
            "
{title}
  mosquitto_sub -p {port} -i {phone} -t a/b
  mosquitto_pub -p {port} -i {device} -t a/b -m hi
  mosquitto_pub -p {port} -i {device} -t a/b -m hi -V mqttv5 -u me -P secret
  mosquitto_pub -h localhost -p {mqtts} -i {device} -t a/b -m hi --cafile {ca}
  curl -s http://{admin}/metrics | grep ^mqtt_lb_
  cargo run --release -- route -c {config} {device} {phone}
  tail -f {log}
{note}

Ctrl-C ends the demo.",
            title = paint.bold("Try next, in another terminal"),
            mqtts = self.mqtts.port(),
            ca = self.folder.join("ca.pem").display(),
            log = self.access_log().display(),
            note = paint.dim(&format!(
                "  These brokers are no cluster: {phone} hears {device} because both belong to {}.",
                home.unwrap_or_default()
            )),
        );
    }
}

fn config_file(folder: &Path) -> PathBuf {
    folder.join("config.yaml")
}

fn yaml([mqtt, mqtts, ws, admin]: [SocketAddr; 4], brokers: &Brokers) -> String {
    let mut yaml = format!(
        "# The demo's configuration: it lives as long as the demo.
listeners:
  - name: mqtt
    bind: {mqtt}
    pool: brokers
  - name: mqtts
    bind: {mqtts}
    pool: brokers
    tls: {{ certificates: [{{ cert: server.pem, key: server.key }}] }}
  - name: ws
    bind: {ws}
    pool: brokers
    websocket: {{}}
pools:
  - name: brokers
    balance: {{ empty_client_id: assign }}
    upstreams:
"
    );
    for broker in brokers.iter() {
        let _ = writeln!(yaml, "      - {{ name: {}, address: {} }}", broker.name, broker.address);
    }
    let _ = write!(
        yaml,
        "drain:
  timeout: 2s
access_log:
  - path: access.log
admin:
  bind: {admin}
"
    );
    yaml
}

/// `port` where it is free, else any other.
fn free_or_any(port: u16) -> anyhow::Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(usual) {
        Ok(_) => Ok(usual),
        Err(_) => free_port().context("no port for the proxy"),
    }
}
