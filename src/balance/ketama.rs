//! The consistent hash of nginx's `hash KEY consistent`, which originates in memcached's libketama:
//! a site can migrate from nginx without moving a session.
//!
//! A broker has 160 points per unit of weight on a ring of CRC-32 values; a key belongs to the
//! first point at or after its own CRC-32. nginx derives a server's points from the host and port
//! in its `server` line, `HOST "\0" PORT`. Here they come from the broker's *name*: a broker named
//! `10.0.0.7:1883` has the keys of `server 10.0.0.7:1883;`.

use std::sync::Arc;

use super::member::TierMember;

/// The maximum sum of weights of a pool: with 160 points of 8 bytes per unit, a ring of 84 MB.
pub(crate) const KETAMA_MAX_TOTAL_WEIGHT: u64 = 65_536;

/// nginx's number of points per unit of weight.
const POINTS_PER_WEIGHT: usize = 160;

#[derive(Clone, Debug)]
pub(super) struct Ketama {
    /// Sorted by hash, one point per hash.
    ring: Arc<[Point]>,
    /// Indices of all brokers on the ring.
    members: Arc<[usize]>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u32,
    index: u32,
}

impl Ketama {
    pub(super) fn new(members: &[TierMember<'_>]) -> Self {
        let mut ring: Vec<Point> = members.iter().flat_map(points).collect();
        // The sort is stable and dedup keeps the first: if points coincide, the broker configured
        // first keeps its own.
        ring.sort_by_key(|point| point.hash);
        ring.dedup_by_key(|point| point.hash);
        Self { ring: ring.into(), members: members.iter().map(|member| member.index).collect() }
    }

    /// If the point's own broker is not eligible, the next eligible one clockwise is picked.
    pub(super) fn pick(
        &self,
        key: &[u8],
        sessions: &dyn Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        let eligible = |&index: &usize| sessions(index).is_some();
        let hash = crc32fast::hash(key);
        let (before, after) = self.ring.split_at(self.ring.partition_point(|p| p.hash < hash));
        let mut clockwise = after.iter().chain(before).map(|point| point.index as usize);

        let owner = clockwise.next()?;
        if eligible(&owner) {
            return Some(owner);
        }
        // Checked first, so that a pool whose brokers are all down costs one check per broker, not
        // per point. It also finds a broker that lost all its points to another, as `a` does to
        // `a:`.
        let any = self.members.iter().copied().find(eligible)?;
        clockwise.find(eligible).or(Some(any))
    }
}

/// A broker's points: each is the CRC-32 of the name and the point before it.
fn points(member: &TierMember<'_>) -> impl Iterator<Item = Point> {
    let (host, port) = split(member.name);
    let mut base = crc32fast::Hasher::new();
    base.update(host.as_bytes());
    base.update(b"\0");
    base.update(port.as_bytes());

    let index = member.index as u32;
    let mut hash = 0_u32;
    let count = POINTS_PER_WEIGHT * member.weight.get() as usize;
    std::iter::repeat_with(move || {
        let mut point = base.clone();
        point.update(&hash.to_le_bytes());
        hash = point.finalize();
        Point { hash, index }
    })
    .take(count)
}

/// Host and port as nginx sees them in a `server` line: digits after the last colon are the port;
/// a `unix:` socket has none.
fn split(name: &str) -> (&str, &str) {
    if let Some((scheme, path)) = name.split_at_checked(5)
        && scheme.eq_ignore_ascii_case("unix:")
    {
        return (path, "");
    }
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_in_a_server_line() {
        for (name, host, port) in [
            ("10.0.0.7:1883", "10.0.0.7", "1883"),
            ("broker-1:1883", "broker-1", "1883"),
            ("[2001:db8::1]:1883", "[2001:db8::1]", "1883"),
            ("10.0.0.7", "10.0.0.7", ""),
            ("broker-1", "broker-1", ""),
            ("[2001:db8::1]", "[2001:db8::1]", ""),
            ("broker:mqtt", "broker:mqtt", ""),
            ("broker:", "broker", ""),
            ("1883", "1883", ""),
            ("unix:/run/a:1883", "/run/a:1883", ""),
            ("UNIX:/run/a", "/run/a", ""),
            ("ünix:1", "ünix", "1"),
            ("", "", ""),
        ] {
            assert_eq!(split(name), (host, port), "{name}");
        }
    }
}
