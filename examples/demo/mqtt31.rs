//! The little of MQTT 3.1 that a client needs who only connects: Rust's clients begin at 3.1.1.

use std::{net::SocketAddr, time::Duration};

use anyhow::{bail, ensure};
use mqtt_lb::testing::proto::mqtt::{Progress, Version, connack};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::interval,
};

/// Half of [`KEEP_ALIVE`] leaves room for a packet that is late.
const PING_EVERY: Duration = Duration::from_secs(30);
const KEEP_ALIVE: u16 = 60;

const PINGREQ: [u8; 2] = [0xC0, 0];
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// Connects, and returns once the broker has said yes.
pub(crate) async fn connect(
    proxy: SocketAddr,
    client_id: &str,
    username: Option<&str>,
) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&connect_packet(client_id, username)?).await?;
    let mut answer = Vec::new();
    loop {
        // No CONNACK of 3.1 is longer than four bytes.
        match connack::parse(&answer, Version::V31, 4)? {
            Progress::Complete(connack) => {
                ensure!(connack.code == 0, "refused with CONNACK code {}", connack.code);
                return Ok(stream);
            }
            Progress::Incomplete { .. } if stream.read_buf(&mut answer).await? == 0 => {
                bail!("closed without a CONNACK");
            }
            Progress::Incomplete { .. } => {}
        }
    }
}

/// Keeps the connection alive until told to leave.
pub(crate) async fn stay(mut stream: TcpStream, mut leave: oneshot::Receiver<()>) {
    let mut ping = interval(PING_EVERY);
    let mut ignored = [0; 256];
    loop {
        tokio::select! {
            _ = &mut leave => break,
            _ = ping.tick() => if stream.write_all(&PINGREQ).await.is_err() { return },
            read = stream.read(&mut ignored) => if !matches!(read, Ok(1..)) { return },
        }
    }
    // A client that has left needs no DISCONNECT.
    let _ = stream.write_all(&DISCONNECT).await;
}

/// "MQIsdp", level 3, clean session.
fn connect_packet(client_id: &str, username: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    string(&mut body, "MQIsdp");
    body.push(3);
    // User Name Flag and Clean Session.
    body.push(if username.is_some() { 0x82 } else { 0x02 });
    body.extend_from_slice(&KEEP_ALIVE.to_be_bytes());
    string(&mut body, client_id);
    if let Some(username) = username {
        string(&mut body, username);
    }
    ensure!(body.len() < 0x80, "its remaining length would take more than one byte");
    let mut packet = vec![0x10, body.len() as u8];
    packet.append(&mut body);
    Ok(packet)
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u16).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}
