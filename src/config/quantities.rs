//! Reading numbers, durations and sizes, each within its range.

use std::{fmt::Display, num::NonZeroU32, ops::RangeInclusive, str::FromStr, time::Duration};

use super::{
    fault::quote,
    section::{Item, Read},
    units::{self, DURATION, SIZE},
};

/// A year is as good as forever, and far from where sums of times overflow.
const FOREVER: Duration = Duration::from_hours(365 * 24);
pub(super) const ABOVE_ZERO: RangeInclusive<Duration> = Duration::from_millis(1)..=FOREVER;
pub(super) const ZERO_TOO: RangeInclusive<Duration> = Duration::ZERO..=FOREVER;
/// A look-up or a probe more often than ten times a second is an attack on what it asks.
pub(super) const INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24);

/// A whole number.
pub(super) fn number<T>(item: &Item<'_>, range: &RangeInclusive<T>) -> Read<T>
where
    T: FromStr + PartialOrd + Display,
{
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    let text = item.unquoted(&allowed)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(item.wrong(&format!("{} is not a whole number", quote(text)), &allowed));
    }
    // One that is too large for its type is out of range, too.
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| item.wrong(&format!("{} is out of range", quote(text)), &allowed))
}

/// A whole number from 1.
pub(super) fn positive(item: &Item<'_>) -> Read<NonZeroU32> {
    number(item, &(NonZeroU32::MIN..=NonZeroU32::MAX))
}

/// A whole number of which 0 means that there is none.
pub(super) fn limit(item: &Item<'_>) -> Read<Option<NonZeroU32>> {
    number(item, &(0..=u32::MAX)).map(NonZeroU32::new)
}

/// A percentage; a whole number.
pub(super) fn percent(item: &Item<'_>) -> Read<u32> {
    number(item, &(0..=100))
}

/// A number that may have a fraction.
pub(super) fn decimal(item: &Item<'_>, range: &RangeInclusive<f64>) -> Read<f64> {
    let allowed = format!("a number from {} to {}", range.start(), range.end());
    let text = item.unquoted(&allowed)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    // Without the exponents, infinities and "not a number" that Rust reads as well.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse() {
        Ok(number) if plain && range.contains(&number) => Ok(number),
        Ok(_) if plain => Err(item.wrong(&format!("{} is out of range", quote(text)), &allowed)),
        _ => Err(item.wrong(&format!("{} is not a number", quote(text)), &allowed)),
    }
}

pub(super) fn duration(item: &Item<'_>, range: &RangeInclusive<Duration>) -> Read<Duration> {
    let duration = item.understood(units::duration(item.text(DURATION)?), DURATION)?;
    within(item, duration, range, units::show_duration)
}

/// A number of bytes.
pub(super) fn size(item: &Item<'_>, range: &RangeInclusive<usize>) -> Read<usize> {
    let size = item.understood(units::size(item.text(SIZE)?), SIZE)?;
    within(item, size, range, |bytes| format!("{bytes} bytes"))
}

fn within<T: PartialOrd + Copy>(
    item: &Item<'_>,
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Read<T> {
    if range.contains(&value) {
        return Ok(value);
    }
    let allowed = format!("{} to {}", show(*range.start()), show(*range.end()));
    Err(item.wrong(&format!("{} is out of range", show(value)), &allowed))
}
