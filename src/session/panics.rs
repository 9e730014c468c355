//! Panics on request, so that tests can see their effect. Not part of release builds.

use super::record::Record;

/// Panics if `MQTT_LB_TEST_PANIC` is `place:client_id`, with the client ID of this connection.
#[cfg(debug_assertions)]
pub(crate) fn panic_if_requested(record: &Record, place: &str) {
    let requested = std::env::var("MQTT_LB_TEST_PANIC").ok();
    let client_id = record.client.as_ref().map(super::record::ClientInfo::client_id);
    let here = client_id.map(|client_id| format!("{place}:{client_id}"));
    assert!(requested.is_none() || requested != here, "a test requested this panic");
}

#[cfg(not(debug_assertions))]
pub(crate) fn panic_if_requested(_: &Record, _: &str) {}
