//! A share of all clients.

use std::{fmt, str::FromStr};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The seed of the hash, so that the share does not depend on which broker a client has: the ASCII
/// text `percent` as a big-endian number.
const SEED: u64 = 0x0070_6572_6365_6e74;

/// A share of the clients, from 0 to 100 percent, in hundredths of a percent.
///
/// A client belongs to it if its [own number](Self::of_client) is smaller. Each share therefore has
/// all clients of every smaller one, and two proxies agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

/// The hash that decides whether a client belongs to a share.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, SEED)
}

impl Percent {
    pub const ALL: Self = Self(10_000);

    pub fn from_hundredths(hundredths: u32) -> Option<Self> {
        (hundredths <= Self::ALL.0).then_some(Self(hundredths))
    }

    pub fn hundredths(self) -> u32 {
        self.0
    }

    /// In percent, as JSON has it.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// The number of a client with this [`key_hash`]: the client belongs to all larger shares. In
    /// hundredths: `floor(h / 2^32) * 10000 / 2^32`, where `h` is the XXH3-64 hash of the key with the
    /// seed `0x0070657263656e74`.
    pub fn of_client(hash: u64) -> Self {
        Self((((hash >> 32) * 10_000) >> 32) as u32)
    }

    /// Whether a client with this [`key_hash`] belongs to the share. A client without a key only
    /// belongs to all of them.
    pub fn includes(self, hash: Option<u64>) -> bool {
        match hash {
            Some(hash) => Self::of_client(hash) < self,
            None => self == Self::ALL,
        }
    }
}

/// A number from 0 to 100 with up to two decimals.
impl FromStr for Percent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| {
            (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_digits(whole) || !is_digits(decimals) || decimals.len() > 2 {
            return Err(());
        }
        let whole: u32 = whole.parse().map_err(drop)?;
        let hundredths: u32 = format!("{decimals:0<2}").parse().map_err(drop)?;
        Self::from_hundredths(whole * 100 + hundredths).ok_or(())
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}"),
            _ if rest % 10 == 0 => write!(f, "{whole}.{}", rest / 10),
            _ => write!(f, "{whole}.{rest:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Percent {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_with_up_to_two_decimals() {
        for (text, hundredths) in
            [("0", 0), ("5", 500), ("0.5", 50), ("12.25", 1225), ("0.05", 5), ("100", 10_000)]
        {
            assert_eq!(percent(text).hundredths(), hundredths, "{text}");
            assert_eq!(percent(text).to_string(), text);
        }
        for text in ["", "-1", "100.01", "101", "1e1", "0.005", ".5", "5.", "5%", "4294967297"] {
            assert_eq!(text.parse::<Percent>(), Err(()), "{text}");
        }
    }

    /// The values of the formula in the manual: they must not change between versions.
    #[test]
    fn the_hash_is_fixed() {
        let hashes = ["dev-1", "dev-2", ""].map(|key| key_hash(key.as_bytes()));
        let shares = hashes.map(|hash| Percent::of_client(hash).hundredths());
        assert_eq!(shares, [2589, 1779, 9042]);
    }

    #[test]
    fn a_larger_share_only_adds_clients() {
        let keys: Vec<_> =
            (0..20_000).map(|n| key_hash(format!("device-{n}").as_bytes())).collect();
        let members = |percent: Percent| -> Vec<_> {
            keys.iter().map(|hash| percent.includes(Some(*hash))).collect()
        };
        let mut before = members(percent("0"));
        assert!(!before.contains(&true));
        for text in ["0.5", "5", "20", "50", "99.99", "100"] {
            let now = members(percent(text));
            assert!(before.iter().zip(&now).all(|(before, now)| now >= before));
            let count = now.iter().filter(|is_in| **is_in).count() as f64 / 200.0;
            let wanted: f64 = text.parse().unwrap();
            // Four standard deviations of a binomial distribution.
            let spread = 4.0 * (wanted * (100.0 - wanted) / 20_000.0).sqrt() + 0.01;
            assert!((count - wanted).abs() <= spread, "{count} of {wanted}");
            before = now;
        }
        assert!(!before.contains(&false));
    }

    #[test]
    fn a_client_without_a_key_is_only_in_all() {
        assert!(!percent("99.99").includes(None));
        assert!(Percent::ALL.includes(None));
    }
}
