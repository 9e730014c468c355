//! Panics that tests ask for, to see what one costs. Builds for release have none of it.

use super::record::Record;

/// Has the task of a connection panic: `MQTT_LB_TEST_PANIC` names the place and the client's ID.
#[cfg(debug_assertions)]
pub(in crate::session) fn asked_panic(record: &Record, place: &str) {
    let asked = std::env::var("MQTT_LB_TEST_PANIC").ok();
    let client_id = record.client.as_ref().map(super::record::Client::client_id);
    let here = client_id.map(|client_id| format!("{place}:{client_id}"));
    assert!(asked.is_none() || asked != here, "a test asked for a panic");
}

#[cfg(not(debug_assertions))]
pub(in crate::session) fn asked_panic(_: &Record, _: &str) {}
