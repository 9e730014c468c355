pub(super) mod files;
mod lines;
mod long_values;
mod reload;
mod several_logs;
mod two_processes;
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::entry::Entry;
use crate::labels::{Event, Transport};

/// 2026-11-22 23:22:27.123456 UTC.
fn some_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_795_389_747_123_456)
}

fn minimal() -> Entry<'static> {
    Entry::new(some_time(), Event::Reject, 0x2a, "mqtt", Transport::Tcp)
}
