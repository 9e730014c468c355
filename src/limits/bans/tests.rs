use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use super::*;
use crate::{limits::CountedAddress, metrics::Metrics};

const AUTOMATIC: BanReason = BanReason::ConnectsPerClientId;

fn bans(max: u32) -> Bans {
    Bans::new(max, Metrics::new().limits())
}

fn ban(target: BanTarget, reason: BanReason, now: Instant, seconds: u64) -> Ban {
    Ban::new(target, reason, now, Duration::from_secs(seconds))
}

fn id(name: &str) -> BanTarget {
    BanTarget::client_id(name)
}

fn listed(bans: &Bans) -> Vec<String> {
    bans.page(None, 1000).bans.iter().map(|ban| ban.target.value().into_owned()).collect()
}

#[test]
fn a_ban_holds_until_its_end() {
    let (bans, now) = (bans(10), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    for target in [
        BanTarget::network("10.0.0.0/8".parse().unwrap()),
        BanTarget::client_id("one"),
        BanTarget::username("anna"),
    ] {
        assert_eq!(bans.add(ban(target, BanReason::Operator, now, 5)), Ok(true));
    }
    let found = |at| {
        [
            bans.find_ip(Ipv4Addr::new(10, 1, 2, 3).into(), at),
            bans.find_ip("::ffff:10.1.2.3".parse().unwrap(), at),
            bans.find_client_id("one", at),
            bans.find_username("anna", at),
        ]
        .map(|ban| ban.is_some())
    };
    assert_eq!(found(after(4)), [true; 4]);
    assert_eq!(found(after(5)), [false; 4]);
    assert!(bans.find_client_id("anna", now).is_none() && bans.find_username("one", now).is_none());
    bans.remove_ended(after(4));
    assert_eq!(listed(&bans).len(), 3);
    bans.remove_ended(after(5));
    assert_eq!(listed(&bans).len(), 0);
}

#[test]
fn addresses_are_banned_as_they_are_counted() {
    let target = |ip: &str, prefix| {
        let counted = CountedAddress::new(ip.parse::<IpAddr>().unwrap(), prefix);
        BanTarget::address(counted, prefix).value().into_owned()
    };
    assert_eq!(target("192.0.2.7", 64), "192.0.2.7");
    assert_eq!(target("2001:db8::1:2:3:4", 64), "2001:db8::/64");
    assert_eq!(target("2001:db8::1", 128), "2001:db8::1");
    let network = |text: &str| BanTarget::network(text.parse().unwrap()).value().into_owned();
    assert_eq!(network("10.1.2.3/8"), "10.0.0.0/8");
    assert_eq!(network("::ffff:10.1.2.3/128"), "10.1.2.3");
    assert_eq!(network("::ffff:10.0.0.0/104"), "10.0.0.0/8");
}

#[test]
fn the_operator_goes_before_rates() {
    let (bans, now) = (bans(10), Instant::now());
    let add = |reason, seconds| bans.add(ban(id("x"), reason, now, seconds)).unwrap();
    assert!(add(AUTOMATIC, 60));
    assert!(!add(AUTOMATIC, 30), "a shorter one changes nothing");
    assert!(add(AUTOMATIC, 90));
    assert!(add(BanReason::Operator, 5));
    assert!(!add(AUTOMATIC, 90), "the operator's stays");
    let found = bans.find_client_id("x", now).unwrap();
    assert_eq!((found.reason, found.until), (BanReason::Operator, now + Duration::from_secs(5)));
    assert_eq!(listed(&bans), ["x"]);
}

#[test]
fn the_automatic_ban_that_ends_first_makes_room() {
    let (bans, now) = (bans(3), Instant::now());
    for (name, reason, seconds) in [
        ("operator", BanReason::Operator, 1),
        ("long", AUTOMATIC, 90),
        ("short", AUTOMATIC, 10),
        ("middle", AUTOMATIC, 50),
    ] {
        assert_eq!(bans.add(ban(id(name), reason, now, seconds)), Ok(true));
    }
    assert_eq!(listed(&bans), ["middle", "long", "operator"]);
    for name in ["second", "third"] {
        assert_eq!(bans.add(ban(id(name), BanReason::Operator, now, 1)), Ok(true));
    }
    for reason in [BanReason::Operator, AUTOMATIC] {
        assert_eq!(bans.add(ban(id("fourth"), reason, now, 1)), Err(TooManyBans));
    }
    assert_eq!(listed(&bans), ["third", "second", "operator"]);
    // One of the same target needs no room.
    assert_eq!(bans.add(ban(id("second"), BanReason::Operator, now, 9)), Ok(true));
}

#[test]
fn a_reload_changes_automatic_bans_only() {
    let (bans, now) = (bans(10), Instant::now());
    bans.add(ban(id("operator"), BanReason::Operator, now, 60)).unwrap();
    bans.add(ban(id("flapping"), AUTOMATIC, now, 60)).unwrap();
    bans.add(ban(BanTarget::username("anna"), BanReason::ConnectsPerUsername, now, 60)).unwrap();
    let hour = Duration::from_hours(1);
    bans.reconfigure(10, |reason| (reason == BanReason::ConnectsPerUsername).then_some(hour));
    assert_eq!(listed(&bans), ["anna", "operator"]);
    assert_eq!(bans.find_username("anna", now).unwrap().until, now + hour);
    bans.reconfigure(1, |_| Some(hour));
    assert_eq!(listed(&bans), ["operator"]);
}

#[test]
fn pages_have_each_ban_once() {
    let (bans, now) = (bans(5000), Instant::now());
    for number in 0..2500 {
        bans.add(ban(id(&number.to_string()), AUTOMATIC, now, 60)).unwrap();
    }
    let (mut seen, mut next) = (Vec::new(), None);
    loop {
        let page = bans.page(next, 1000);
        assert_eq!(page.total, 2500);
        seen.extend(page.bans.iter().map(|ban| ban.target.value().parse::<u32>().unwrap()));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert!(seen.into_iter().eq((0..2500).rev()));
}

/// Names of any length take little memory.
#[test]
fn long_names_are_compared_by_their_start() {
    let (bans, now) = (bans(200), Instant::now());
    let long = |end: &str| format!("{}{end}", "ü".repeat(30_000));
    for number in 0..100 {
        let name = format!("{number}{}", long(""));
        bans.add(ban(BanTarget::username(&name), AUTOMATIC, now, 60)).unwrap();
    }
    bans.add(ban(BanTarget::client_id(&long("a")), AUTOMATIC, now, 60)).unwrap();
    assert!(bans.find_client_id(&long("b"), now).is_some());
    assert!(bans.find_client_id("ü", now).is_none());
    let page = bans.page(None, 1000);
    assert_eq!((page.bans.len(), page.next.is_some()), (64, true));
    assert!(bans.remove(&BanTarget::client_id(&long("c"))).is_some());
}

/// Compared with a simple model, over random operations.
#[test]
fn random_operations() {
    let mut random = fastrand::Rng::with_seed(3);
    let (bans, start) = (bans(1000), Instant::now());
    let mut now = start;
    let mut model: BTreeMap<String, (Instant, bool)> = BTreeMap::new();
    for _ in 0..20_000 {
        let name = random.u8(..20).to_string();
        let (seconds, by_operator) = (random.u64(1..50), random.bool());
        model.retain(|_, (until, _)| *until > now);
        match random.u8(..5) {
            0 => now += Duration::from_secs(random.u64(..10)),
            1 => {
                let was_banned = bans.remove(&id(&name)).is_some_and(|ban| ban.until > now);
                assert_eq!(was_banned, model.remove(&name).is_some());
            }
            2 => bans.remove_ended(now),
            _ => {
                let reason = if by_operator { BanReason::Operator } else { AUTOMATIC };
                let until = now + Duration::from_secs(seconds);
                let known = model.get(&name).copied();
                let stays = known.is_some_and(|(end, operator)| operator || end >= until);
                let is_new = by_operator || !stays;
                assert_eq!(bans.add(ban(id(&name), reason, now, seconds)), Ok(is_new));
                if is_new {
                    model.insert(name.clone(), (until, by_operator));
                }
            }
        }
        for number in 0..20 {
            let name = number.to_string();
            let until = model.get(&name).map(|(until, _)| *until).filter(|until| *until > now);
            assert_eq!(bans.find_client_id(&name, now).map(|ban| ban.until), until);
        }
    }
}

/// Only the monotonic clock ends a ban: the wall clock says what is shown, and an instant from before
/// the ban, as another thread may still have it, neither ends it nor fails.
#[test]
fn clocks_that_jump() {
    let (bans, now) = (bans(10), Instant::now() + Duration::from_hours(2));
    bans.add(ban(id("one"), BanReason::Operator, now, 60)).unwrap();
    let before = now.checked_sub(Duration::from_hours(1)).unwrap();
    for (at, is_banned) in
        [(before, true), (now, true), (now + Duration::from_mins(1), false), (before, true)]
    {
        assert_eq!(bans.find_client_id("one", at).is_some(), is_banned);
    }
    bans.remove_ended(before);
    assert!(bans.find_client_id("one", now).is_some());
    bans.remove_ended(now + Duration::from_mins(1));
    assert!(bans.find_client_id("one", now).is_none());
}
