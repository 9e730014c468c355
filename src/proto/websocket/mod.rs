//! MQTT over WebSocket (MQTT 5.0, section 6): the opening handshake and the frames.

mod forwarded;
pub(crate) mod frame;
pub(crate) mod request;
#[cfg(test)]
mod tests;
