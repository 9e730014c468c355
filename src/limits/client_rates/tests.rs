use std::num::NonZeroU32;

use super::*;
use crate::metrics::Metrics;

fn rate(rate: u32, burst: u32, ban_seconds: Option<u64>) -> config::BanRate {
    let of = |number| NonZeroU32::new(number).unwrap();
    let rate = config::Rate { rate: of(rate), burst: of(burst) };
    config::BanRate { rate, ban_for: ban_seconds.map(Duration::from_secs) }
}

fn rates(limits: &Limits) -> ClientRates {
    ClientRates::new(limits, Metrics::new().limits())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn handshakes_beyond_the_burst_are_closed_and_then_banned() {
    let (one, two, start) = (ip("10.0.0.1"), ip("10.0.0.2"), Instant::now());
    let limited = rates(&Limits { handshakes_per_ip: Some(rate(1, 3, None)), ..Limits::NONE });
    let banning = rates(&Limits { handshakes_per_ip: Some(rate(1, 3, Some(60))), ..Limits::NONE });
    for rates in [&limited, &banning] {
        assert!((0..3).all(|_| rates.admit(one, start).is_ok()));
    }
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(matches!(limited.admit(one, start), Err(AddressRefusal::Handshakes(None))));
    assert!(limited.admit(one, after(1)).is_ok());
    assert!(matches!(banning.admit(one, start), Err(AddressRefusal::Handshakes(Some(_)))));
    assert!(matches!(banning.admit(one, after(59)), Err(AddressRefusal::Banned(_))));
    assert!(banning.admit(one, after(60)).is_ok());
    assert!(banning.admit(two, start).is_ok());
}

#[test]
fn failed_logins_close_the_address_until_one_more_is_allowed() {
    let (one, start) = (ip("2001:db8::1"), Instant::now());
    let neighbour = ip("2001:db8::2");
    let limited = rates(&Limits { bad_credentials_per_ip: Some(rate(1, 3, None)), ..Limits::NONE });
    for _ in 0..3 {
        assert!(limited.admit(one, start).is_ok());
        assert!(limited.count_bad_credentials(one, start).is_none());
    }
    let after = |millis| start + Duration::from_millis(millis);
    assert!(matches!(limited.admit(neighbour, after(999)), Err(AddressRefusal::BadCredentials)));
    assert!(limited.admit(one, after(1000)).is_ok());
    let banning =
        rates(&Limits { bad_credentials_per_ip: Some(rate(1, 3, Some(60))), ..Limits::NONE });
    let bans: Vec<_> = (0..5).map(|_| banning.count_bad_credentials(one, start)).collect();
    assert_eq!(bans.iter().filter(|ban| ban.is_some()).count(), 1);
    assert_eq!(bans[2].as_ref().unwrap().target.value(), "2001:db8::/64");
}

#[test]
fn client_ids_and_usernames_are_counted_apart() {
    let now = Instant::now();
    let rates = rates(&Limits {
        connects_per_client_id: Some(rate(1, 2, Some(60))),
        connects_per_username: Some(rate(1, 4, None)),
        ..Limits::NONE
    });
    let count = |id, name| rates.count_connect(id, name, now).map_err(|over| over.rate);
    let (by_id, by_name) = (BanReason::ConnectsPerClientId, BanReason::ConnectsPerUsername);
    assert_eq!([(); 3].map(|()| count(Some("a"), None)), [Ok(()), Ok(()), Err(by_id)]);
    assert_eq!(count(Some("b"), Some("anna")), Ok(()));
    assert_eq!([(); 3].map(|()| count(None, Some("anna"))), [Ok(()); 3]);
    assert_eq!(count(Some("c"), Some("anna")), Err(by_name));
    assert_eq!(count(None, None), Ok(()));
    assert!(rates.bans.find_client_id("a", now).is_some());
    assert!(rates.bans.find_username("anna", now).is_none());
}

#[test]
fn buckets_survive_a_reload_that_keeps_the_rate() {
    let now = Instant::now();
    let limits = |burst, prefix| Limits {
        handshakes_per_ip: Some(rate(1, burst, None)),
        connects_per_client_id: Some(rate(1, 1, None)),
        ipv6_prefix: prefix,
        ..Limits::NONE
    };
    let rates = rates(&limits(1, 64));
    let use_up = || {
        let _ = rates.count_connect(Some("a"), None, now);
        rates.admit(ip("fd00::1"), now).is_ok()
    };
    assert!(use_up());
    for (limits, is_fresh) in [
        (limits(1, 64), false),
        (limits(2, 64), true),
        (limits(2, 48), true),
        (Limits { max_bans: 7, ..limits(2, 48) }, true),
        (limits(2, 48), false),
    ] {
        rates.reconfigure(&limits);
        assert_eq!(use_up(), is_fresh, "{limits:?}");
        assert!(rates.count_connect(Some("a"), None, now).is_err());
    }
}
