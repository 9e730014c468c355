//! `rumqttc begin|resume PORT VERSION NAME`: a client of rumqttc with a session that outlives its
//! connection. To begin, it subscribes to NAME/0, NAME/1 and NAME/2 and publishes to each, at the
//! QoS of its name; to resume, it waits for one message. It prints what it receives, a line for each
//! message: topic, QoS and payload.

use std::{env, error::Error, str::from_utf8};

const HOST: &str = "127.0.0.1";
/// Seconds.
const SESSION_EXPIRY: u32 = 3600;
/// Requests that wait for the event loop.
const QUEUE: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [mode, port, version, name] = arguments.as_slice() else {
        return Err("usage: rumqttc begin|resume PORT VERSION NAME".into());
    };
    let (begins, port) = (mode == "begin", port.parse()?);
    match version.as_str() {
        "4" => {
            let mut options = rumqttc::MqttOptions::new(name, HOST, port);
            options.set_clean_session(false);
            v4::talk(options, name, begins).await
        }
        "5" => {
            let mut options = rumqttc::v5::MqttOptions::new(name, HOST, port);
            options.set_clean_start(false).set_session_expiry_interval(Some(SESSION_EXPIRY));
            v5::talk(options, name, begins).await
        }
        other => Err(format!("no version of rumqttc: {other}").into()),
    }
}

/// Each version has its own types, under the same names.
macro_rules! talk {
    ($version:ident in $($mqtt:ident)::+) => {
        mod $version {
            use $($mqtt)::+::{
                AsyncClient, Event, MqttOptions, mqttbytes::QoS, mqttbytes::$version::Packet,
            };
            use rumqttc::Outgoing;

            use super::{Error, QUEUE, from_utf8};

            const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

            pub(super) async fn talk(
                options: MqttOptions,
                name: &str,
                begins: bool,
            ) -> Result<(), Box<dyn Error>> {
                let (client, mut events) = AsyncClient::new(options, QUEUE);
                let topic = |level: QoS| format!("{name}/{}", level as u8);
                if begins {
                    for level in LEVELS {
                        client.subscribe(topic(level), level).await?;
                    }
                }
                let (mut granted, mut received) = (0, 0);
                let (subscribed, awaited) = if begins { (LEVELS.len(), LEVELS.len()) } else { (0, 1) };
                loop {
                    match events.poll().await? {
                        Event::Incoming(Packet::SubAck(_)) => {
                            granted += 1;
                            if granted == subscribed {
                                for level in LEVELS {
                                    client.publish(topic(level), level, false, "hello").await?;
                                }
                            } else if granted > subscribed {
                                client.disconnect().await?;
                            }
                        }
                        Event::Incoming(Packet::Publish(one)) => {
                            let topic = from_utf8(one.topic.as_ref())?;
                            let payload = from_utf8(&one.payload)?;
                            println!("{topic} {} {payload}", one.qos as u8);
                            received += 1;
                            if received == awaited {
                                // The answer comes after the rest of the QoS 2 handshake.
                                client.subscribe(topic, one.qos).await?;
                            }
                        }
                        Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                        _ => {}
                    }
                }
            }
        }
    };
}

talk!(v4 in rumqttc);
talk!(v5 in rumqttc::v5);
