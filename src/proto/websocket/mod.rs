//! MQTT over WebSocket (MQTT 5.0, section 6): the opening handshake and the frames.

mod forwarded;
pub mod frame;
pub mod request;
#[cfg(test)]
mod tests;
