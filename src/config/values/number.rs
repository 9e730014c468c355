//! Numbers, durations and sizes, each within its range.

use std::{fmt, num::NonZeroU32, ops::RangeInclusive, str::FromStr, time::Duration};

use super::scalar::{Invalid, Scalar, scalar};
use crate::{
    config::{at::At, fault::quote},
    rules::Percent,
};

/// A year in milliseconds: as good as forever, and far from where sums of times overflow.
pub(in crate::config) const YEAR: u64 = 365 * 24 * HOUR;
pub(in crate::config) const HOUR: u64 = 3_600_000;

const DURATION: &str = "a whole number with ms, s, m or h, such as 500ms, 10s, 5m, 1h";
const SIZE: &str = "a whole number of bytes, KiB or MiB, such as 512, 64KiB, 1MiB";

/// Units of time in milliseconds, the largest first.
const TIMES: [(&str, u64); 4] = [("h", HOUR), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A whole number in a range that `T` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Number<T, const MIN: u64, const MAX: u64>(pub(in crate::config) T);

impl<T: FromStr, const MIN: u64, const MAX: u64> Number<T, MIN, MAX> {
    fn parsed(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Invalid::not_a("whole number", text));
        }
        // One that is too large for its type is out of range, too.
        let is_in_range = text.parse().is_ok_and(|number| (MIN..=MAX).contains(&number));
        let number = text.parse().ok().filter(|_| is_in_range);
        number.map(Self).ok_or_else(|| Invalid::new(format!("{} is out of range", quote(text))))
    }
}

impl<T: fmt::Display, const MIN: u64, const MAX: u64> fmt::Display for Number<T, MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

scalar!(
    impl [T: FromStr + fmt::Display, const MIN: u64, const MAX: u64] Number<T, MIN, MAX>:
    Numeric, format!("a whole number from {MIN} to {MAX}"), Self::parsed,
    { "type": "integer", "minimum": MIN, "maximum": MAX }
);

/// An upper bound of a number; 0 in the file is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Limit(pub(in crate::config) Option<NonZeroU32>);

/// [`Limit`] as the file has it.
type WrittenLimit = Number<u32, 0, { u32::MAX as u64 }>;

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(0, NonZeroU32::get).fmt(f)
    }
}

scalar!(
    impl [] Limit:
    Numeric, WrittenLimit::allowed(),
    |text| WrittenLimit::parsed(text).map(|number| Limit(NonZeroU32::new(number.0))),
    { "type": "integer", "minimum": 0, "maximum": u32::MAX }
);

/// A duration in a range of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Time<const MIN: u64 = 1, const MAX: u64 = YEAR>(
    pub(in crate::config) Duration,
);

impl<const MIN: u64, const MAX: u64> Time<MIN, MAX> {
    fn parsed(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::not_a("duration", text);
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        if unit.is_empty() {
            return Err(Invalid::new(format!("{} has no unit", quote(text))));
        }
        let (_, unit) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let millis = number.checked_mul(*unit).ok_or_else(wrong)?;
        within(millis, MIN, MAX, show_millis).map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Time<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_duration(self.0))
    }
}

scalar!(
    impl [const MIN: u64, const MAX: u64] Time<MIN, MAX>:
    String, DURATION, Self::parsed,
    {
        "type": "string",
        "pattern": "^[0-9]+(ms|s|m|h)$",
        "$comment": format!("{} to {}", show_millis(MIN), show_millis(MAX)),
    }
);

fn show_millis(millis: u64) -> String {
    show_duration(Duration::from_millis(millis))
}

/// Writes a duration as [`Time`] reads it, in the largest unit that is exact.
pub(in crate::config) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let exact = |(_, unit): &&(&str, u64)| millis.is_multiple_of(u128::from(*unit));
    match TIMES.iter().find(exact) {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / u128::from(*unit)),
        _ => "0s".to_owned(),
    }
}

/// A number of bytes in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Size<const MIN: u64, const MAX: u64>(pub(in crate::config) u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    fn parsed(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::not_a("size", text);
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let unit = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => return Err(wrong()),
        };
        let bytes = number.checked_mul(unit).ok_or_else(wrong)?;
        within(bytes, MIN, MAX, |bytes| format!("{bytes} bytes")).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => write!(f, "{}KiB", bytes >> 10),
            bytes => bytes.fmt(f),
        }
    }
}

scalar!(
    impl [const MIN: u64, const MAX: u64] Size<MIN, MAX>:
    StringOrInteger, SIZE, Self::parsed,
    {
        "type": ["integer", "string"],
        "minimum": MIN,
        "maximum": MAX,
        "pattern": "^[0-9]+(KiB|MiB)?$",
    }
);

/// A factor below 1.01 makes a broker full before the last of the others has its share; one of 100
/// limits nothing.
const FACTORS: RangeInclusive<f64> = 1.01..=100.0;

scalar!(
    /// How many times its fair share of the load a broker is given.
    #[derive(Copy)]
    struct Factor(f64):
    Numeric, format!("a number from {} to {}", FACTORS.start(), FACTORS.end()), factor,
    { "type": "number", "minimum": FACTORS.start(), "maximum": FACTORS.end() }
);

fn factor(text: &str) -> Result<Factor, Invalid> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // Without the exponents, infinities and "not a number" that Rust reads as well.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse() {
        Ok(number) if plain && FACTORS.contains(&number) => Ok(Factor(number)),
        Ok(_) if plain => Err(Invalid::new(format!("{} is out of range", quote(text)))),
        _ => Err(Invalid::not_a("number", text)),
    }
}

scalar!(
    impl [] Percentage: Numeric, "a number from 0 to 100 with up to two decimals", percentage,
    { "type": "number", "minimum": 0, "maximum": 100 }
);

/// A share of clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Percentage(pub(in crate::config) Percent);

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn percentage(text: &str) -> Result<Percentage, Invalid> {
    let invalid = |()| Invalid::new(format!("{} is not a percentage", quote(text)));
    text.parse().map(Percentage).map_err(invalid)
}

fn within(value: u64, min: u64, max: u64, show: impl Fn(u64) -> String) -> Result<u64, Invalid> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let wrong = Invalid::new(format!("{} is out of range", show(value)));
    Err(wrong.allowed(format!("{} to {}", show(min), show(max))))
}

pub(super) fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// A default number, for serde.
pub(in crate::config) fn at_number<const NUMBER: u64, V: Scalar>() -> At<V> {
    at_default(&NUMBER.to_string())
}

/// A default in milliseconds, for serde.
pub(in crate::config) fn at_time<const MILLIS: u64, V: Scalar>() -> At<V> {
    at_default(&format!("{MILLIS}ms"))
}

/// A default in KiB, for serde.
pub(in crate::config) fn at_size<const KIB: u64, V: Scalar>() -> At<V> {
    at_default(&format!("{KIB}KiB"))
}

/// A default that its own type refuses counts as missing, so that no file is valid.
fn at_default<V: Scalar>(text: &str) -> At<V> {
    V::parse(text).map_or(At::MISSING, At::default_of)
}
