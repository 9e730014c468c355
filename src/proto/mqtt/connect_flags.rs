//! The connect flags (3.1.1 §3.1.2.3, 5.0 §3.1.2.3).

use super::{malformed::Malformed, reader::PacketReader, strictness::Tolerance, version::Version};

pub(super) const USERNAME: u8 = 0x80;
pub(super) const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

#[derive(Clone, Copy)]
pub(super) struct ConnectFlags {
    pub(super) username: bool,
    pub(super) password: bool,
    /// The Will's QoS and Retain.
    pub(super) will: Option<(Qos, bool)>,
    pub(super) clean_start: bool,
}

impl ConnectFlags {
    /// # Errors
    /// [`Malformed::Truncated`], or a combination of flags that `version` does not allow, of which
    /// a lenient reader tolerates every one.
    pub(super) fn read(
        reader: &mut PacketReader<'_>,
        version: Version,
        tolerance: &mut Tolerance,
    ) -> Result<Self, Malformed> {
        let byte = reader.u8()?;
        let is_set = |bits: u8| byte & bits != 0;
        // [MQTT-3.1.2-3]. 3.1 calls the bit "not used" without a value, so any is accepted.
        if is_set(RESERVED) && version != Version::V31 {
            tolerance.note(Malformed::ReservedConnectFlag)?;
        }
        let (username, password) = (is_set(USERNAME), is_set(PASSWORD));
        // [MQTT-3.1.2-22] of 3.1.1, and likewise in 3.1. 5.0 allows it, for tokens (§3.1.2.9).
        if password && !username && version != Version::V5 {
            tolerance.note(Malformed::PasswordWithoutUsername)?;
        }
        // [MQTT-3.1.2-13], [MQTT-3.1.2-15]; 3.1 ignores both without a Will.
        if !is_set(WILL) && is_set(WILL_QOS | WILL_RETAIN) && version != Version::V31 {
            tolerance.note(Malformed::WillFlagsWithoutWill)?;
        }
        let will = if is_set(WILL) {
            Some((will_qos(byte, tolerance)?, is_set(WILL_RETAIN)))
        } else {
            None
        };
        Ok(Self { username, password, will, clean_start: is_set(CLEAN_START) })
    }
}

/// A QoS of 3, where it is tolerated, is reported as the highest that exists.
fn will_qos(flags: u8, tolerance: &mut Tolerance) -> Result<Qos, Malformed> {
    match (flags & WILL_QOS) >> 3 {
        0 => Ok(Qos::AtMostOnce),
        1 => Ok(Qos::AtLeastOnce),
        2 => Ok(Qos::ExactlyOnce),
        _ => tolerance.note(Malformed::WillQos).map(|()| Qos::ExactlyOnce),
    }
}
