//! The MQTT probe: a client that connects with 3.1.1, which every broker speaks, and disconnects.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout_at,
};

use super::{
    connect::{ProbeDeadline, ProbeStream},
    error::ProbeError,
};
use crate::proto::mqtt::{Progress, Version, connack};

/// 3.1.1 §3.14: packet type 14 and nothing else.
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The longest CONNACK that is accepted. In 3.1.1 it has 4 bytes (§3.2); a longer one passes as
/// well, since clients would receive it too.
const MAX_CONNACK_BYTES: u16 = 1024;

/// A CONNECT with a clean session (3.1.1 §3.1). The configuration ensures that there is no password
/// without a username, and that neither exceeds the 65,535 bytes of MQTT.
///
/// Its keep alive is the timeout of the probe, so that the broker soon drops the connection if this
/// host vanishes.
pub(crate) fn connect(
    client_id: &str,
    timeout: Duration,
    username: Option<&str>,
    password: Option<&str>,
) -> Vec<u8> {
    const CLEAN_SESSION: u8 = 0x02;
    const PASSWORD: u8 = 0x40;
    const USERNAME: u8 = 0x80;
    let mut flags = CLEAN_SESSION;
    flags |= if username.is_some() { USERNAME } else { 0 };
    flags |= if password.is_some() { PASSWORD } else { 0 };
    let keep_alive = timeout.as_secs_f64().ceil().min(f64::from(u16::MAX)) as u16;

    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.push(flags);
    body.extend(keep_alive.to_be_bytes());
    for text in [Some(client_id), username, password].into_iter().flatten() {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    let mut packet = vec![0x10];
    remaining_length(&mut packet, body.len());
    packet.extend(body);
    packet
}

/// Sends a CONNECT and returns the code of the CONNACK. An accepted probe sends a DISCONNECT, so
/// that the broker does not treat it as a lost client.
pub(crate) async fn exchange(
    stream: &mut ProbeStream,
    connect: &[u8],
    deadline: ProbeDeadline,
) -> Result<u8, ProbeError> {
    let exchange = async {
        stream.write_all(connect).await.map_err(ProbeError::Reset)?;
        let code = read_connack(stream).await?;
        if code == 0 {
            // The result is already known; whether the DISCONNECT arrives does not matter.
            let _ = stream.write_all(&DISCONNECT).await;
        }
        Ok(code)
    };
    timeout_at(deadline.at, exchange).await.unwrap_or(Err(ProbeError::NoConnack(deadline.timeout)))
}

async fn read_connack(stream: &mut ProbeStream) -> Result<u8, ProbeError> {
    let mut packet = Vec::with_capacity(8);
    let mut stream = stream.take(MAX_CONNACK_BYTES.into());
    while stream.read_buf(&mut packet).await.map_err(ProbeError::Reset)? > 0 {
        let parsed = connack::parse(&packet, Version::V311, MAX_CONNACK_BYTES.into())?;
        if let Progress::Complete(connack) = parsed {
            return Ok(connack.code);
        }
    }
    Err(ProbeError::Closed)
}

/// Writes seven bits per byte, lowest first; the top bit means that another byte follows (3.1.1
/// §2.2.3).
fn remaining_length(packet: &mut Vec<u8>, mut len: usize) {
    while len > 0x7F {
        packet.push(len as u8 | 0x80);
        len >>= 7;
    }
    packet.push(len as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt;

    /// Lengths just below and above each point where the remaining length grows by a byte, and the
    /// longest.
    #[test]
    fn every_length_of_password() {
        const ID: &str = "mqttlb0123456789abcdef";
        let before = connect(ID, Duration::from_millis(1500), Some("me"), Some("")).len() - 2;
        for (len, header) in [
            (127 - before, 2),
            (128 - before, 3),
            (16_383 - before, 3),
            (16_384 - before, 4),
            (65_535, 4),
        ] {
            let password = "x".repeat(len);
            let packet = connect(ID, Duration::from_millis(1500), Some("me"), Some(&password));
            assert_eq!(packet.len(), header + before + len);
            let parsed = match mqtt::connect::parse(&packet, packet.len(), mqtt::Strictness::Strict)
            {
                Ok(Progress::Complete(parsed)) => parsed,
                other => panic!("{len}: {other:?}"),
            };
            assert_eq!(parsed.len, packet.len());
            assert!(
                parsed.version == Version::V311 && parsed.clean_start && parsed.password.is_some()
            );
            assert_eq!((parsed.keep_alive, parsed.client_id.of(&packet)), (2, ID));
            assert_eq!(parsed.username.map(|span| span.of(&packet)), Some("me"));
            assert!(packet.ends_with(password.as_bytes()));
        }
    }
}
