//! Timestamps in logs.

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::OffsetDateTime;

/// Unix time in seconds; 0 for times before 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let mut stamp = Timestamp::default();
    stamp.set(time);
    stamp.rfc3339
}

/// The time of a line as text; the date is formatted once a second.
#[derive(Default)]
pub(crate) struct Timestamp {
    milli: Option<u64>,
    second: Option<u64>,
    rfc3339: String,
    local: String,
}

/// Length of `2026-11-22T23:22:27.`, which stays the same for a second.
const SECONDS_PREFIX_LEN: usize = 20;

impl Timestamp {
    pub(crate) fn set(&mut self, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let milli = since.as_millis() as u64;
        if self.milli.replace(milli) == Some(milli) {
            return;
        }
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.set_second(since.as_secs());
        }
        self.rfc3339.truncate(SECONDS_PREFIX_LEN);
        // Writing to memory cannot fail.
        let _ = write!(self.rfc3339, "{:03}Z", since.subsec_millis());
    }

    fn set_second(&mut self, second: u64) {
        // Dates beyond the year 9999 are shown as the epoch.
        let date = i64::try_from(second)
            .ok()
            .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = date.time().as_hms();
        let month_name = date.month().to_string();
        let month_name = month_name.get(..3).unwrap_or_default();
        self.rfc3339.clear();
        self.local.clear();
        // Writing to memory cannot fail.
        let _ = write!(
            self.rfc3339,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}."
        );
        let _ = write!(
            self.local,
            "{day:02}/{month_name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"
        );
    }

    /// RFC 3339 in UTC, to the millisecond.
    pub(crate) fn rfc3339(&self) -> &str {
        &self.rfc3339
    }

    /// nginx's `$time_local`, in UTC.
    pub(crate) fn local(&self) -> &str {
        &self.local
    }
}
