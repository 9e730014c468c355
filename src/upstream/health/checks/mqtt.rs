//! The MQTT probe: a client of 3.1.1, which every broker speaks, that comes and goes.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout_at,
};

use super::{
    probe::Failure,
    reach::{Deadline, Stream},
};
use crate::proto::mqtt::{Progress, Version, connack};

/// 3.1.1 §3.14: type 14, and nothing else.
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The longest CONNACK that is read. One of 3.1.1 has 4 bytes (§3.2); brokers that send more are
/// well all the same, as their clients are given what they send.
const MOST_READ: u16 = 1024;

/// A CONNECT with a clean session (3.1.1 §3.1). The configuration sees to it that there is no password
/// without a username, and that neither is longer than MQTT can say.
///
/// Its keep alive is as long as the probe may take: should this host vanish meanwhile, the broker
/// is soon done with it.
pub(in crate::upstream) fn connect(
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

/// Sends a CONNECT and returns the code it is answered with. Who was let in says goodbye, so that
/// the broker takes it for a client that is done, not for one that was lost.
pub(in crate::upstream) async fn ask(
    stream: &mut Stream,
    connect: &[u8],
    deadline: Deadline,
) -> Result<u8, Failure> {
    let asking = async {
        stream.write_all(connect).await.map_err(Failure::Broken)?;
        let code = read_connack(stream).await?;
        if code == 0 {
            // The answer is there; whether it was still read is not what was asked.
            let _ = stream.write_all(&DISCONNECT).await;
        }
        Ok(code)
    };
    timeout_at(deadline.at, asking).await.unwrap_or(Err(Failure::NoConnack(deadline.timeout)))
}

async fn read_connack(stream: &mut Stream) -> Result<u8, Failure> {
    let mut packet = Vec::with_capacity(8);
    let mut stream = stream.take(MOST_READ.into());
    while stream.read_buf(&mut packet).await.map_err(Failure::Broken)? > 0 {
        let parsed = connack::parse(&packet, Version::V311, MOST_READ.into())?;
        if let Progress::Complete(connack) = parsed {
            return Ok(connack.code);
        }
    }
    Err(Failure::Closed)
}

/// Seven bits a byte, the lowest first; the top bit says that another byte follows (3.1.1 §2.2.3).
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

    /// Lengths on both sides of where the remaining length takes one byte more, and the longest.
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
            let parsed = match mqtt::connect::parse(&packet, packet.len()) {
                Ok(Progress::Complete(parsed)) => parsed,
                other => panic!("{len}: {other:?}"),
            };
            assert_eq!(parsed.len, packet.len());
            assert!(parsed.version == Version::V311 && parsed.clean_start && parsed.has_password);
            assert_eq!((parsed.keep_alive, parsed.client_id.of(&packet)), (2, ID));
            assert_eq!(parsed.username.map(|span| span.of(&packet)), Some("me"));
            assert!(packet.ends_with(password.as_bytes()));
        }
    }
}
