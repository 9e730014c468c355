//! One address for a broker that has a port for each MQTT version: rumqttd listens for 3.1.1 and for
//! 5.0 on different ports, and the proxy dials one address.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::bail;
use mqtt_lb::testing::proto::mqtt::{Progress, Strictness, Version, connect};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::brokers::Visits;

/// The proxy's own default for what a CONNECT may take.
const MAX_CONNECT_BYTES: usize = 64 * 1024;

#[derive(Clone)]
pub(crate) struct VersionSplitter {
    pub(crate) broker: &'static str,
    pub(crate) v4: SocketAddr,
    pub(crate) v5: SocketAddr,
    pub(crate) visits: Visits,
}

impl VersionSplitter {
    /// Returns the address that it listens on.
    pub(crate) async fn open(self) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that fails here ends; the proxy says so in its log.
                tokio::spawn(self.clone().show_in(stream));
            }
        });
        Ok(address)
    }

    async fn show_in(self, mut client: TcpStream) -> anyhow::Result<()> {
        let mut packet = Vec::new();
        let connect = loop {
            match connect::parse(&packet, MAX_CONNECT_BYTES, Strictness::Strict)? {
                Progress::Complete(connect) => break connect,
                Progress::Incomplete { .. } if client.read_buf(&mut packet).await? == 0 => {
                    bail!("closed before its CONNECT was whole");
                }
                Progress::Incomplete { .. } => {}
            }
        };
        let client_id = connect.client_id.of(&packet).to_owned();
        if let Ok(mut visits) = self.visits.lock() {
            visits.push((client_id, self.broker));
        }
        let port = if connect.version == Version::V5 { self.v5 } else { self.v4 };
        let mut broker = TcpStream::connect(port).await?;
        if connect.version == Version::V31 {
            packet = as_v311(&packet)?;
        }
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        broker.write_all(&packet).await?;
        copy_bidirectional(&mut client, &mut broker).await?;
        Ok(())
    }
}

/// A CONNECT of 3.1 under 3.1.1's protocol name and level. The rest of the two is the same.
fn as_v311(packet: &[u8]) -> anyhow::Result<Vec<u8>> {
    const V31: &[u8] = b"\x00\x06MQIsdp\x03";
    const V311: &[u8] = b"\x00\x04MQTT\x04";
    let Some(at) = packet.windows(V31.len()).position(|bytes| bytes == V31) else {
        bail!("a bridge of MQTT 3.1: rumqttd takes none");
    };
    let rest = &packet[at + V31.len()..];
    // The remaining length, seven bits a byte (3.1.1 §2.2.3); what was pipelined behind the CONNECT
    // does not count.
    let Some(old) = mqtt_lb::testing::proto::mqtt::packet_len(packet)? else {
        bail!("no remaining length")
    };
    let mut remaining = old - at - (V31.len() - V311.len());
    let mut renamed = vec![packet[0]];
    while remaining >= 0x80 {
        renamed.push(remaining as u8 | 0x80);
        remaining >>= 7;
    }
    renamed.push(remaining as u8);
    renamed.extend_from_slice(V311);
    renamed.extend_from_slice(rest);
    Ok(renamed)
}
