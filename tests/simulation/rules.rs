//! What moves, ends and is refused by rules, bans and quotas.

use std::time::Duration;

use crate::{
    SEED,
    policy_fleet::{Device, Order, PolicyFleet, PolicyRow},
    scenario::Scale,
};

pub(crate) const FULL: Scale = Scale { proxies: 5, clients: 50_000 };
pub(crate) const SMALL: Scale = Scale { proxies: 5, clients: 10_000 };

const CANARY: &str = "{ name: canary, when: { percent: 0 }, pool: new }";
const TENANT: &str = "{ name: tenant, when: { username: tenant-7 }, pool: new }, \
    { name: canary, when: { percent: 0 }, pool: new }";

/// One in ten clients is of this tenant; the others have 2 % each.
const BIG: &str = "big";

pub(crate) fn rows(scale: Scale) -> Vec<PolicyRow> {
    let devices: Vec<_> = (0..scale.clients).map(device).collect();
    let mut fleet = PolicyFleet::new(scale.proxies, &devices, CANARY, SEED);
    fleet.event("start", |_| false, PolicyFleet::connect_all);
    let at_first = fleet.places();
    assert!(at_first.iter().all(|place| place.is_some_and(|broker| broker < 10)));
    let mut rows = canary(&mut fleet, &devices);
    assert!(fleet.places() == at_first);
    rows.extend(tenant(&mut fleet, &devices));
    assert!(fleet.places() == at_first);
    rows.push(banned(&mut fleet, &devices));
    assert!(fleet.places() == at_first);
    rows.extend(quota(&mut fleet, &devices, scale));
    assert!(fleet.places() == at_first);
    rows
}

fn device(number: usize) -> Device {
    let tenant =
        if number.is_multiple_of(10) { BIG.to_owned() } else { format!("tenant-{}", number % 50) };
    Device { id: format!("device-{number:07}"), tenant }
}

/// Whether a client belongs to a share, by the formula in the manual.
fn is_in_share(device: &Device, percent: u64) -> bool {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(device.id.as_bytes(), 0x0070_6572_6365_6e74);
    (((hash >> 32) * 10_000) >> 32) < percent * 100
}

/// Each step moves exactly the clients between the two shares, and they are where they belong.
fn canary(fleet: &mut PolicyFleet<'_>, devices: &[Device]) -> Vec<PolicyRow> {
    let mut before = 0;
    let steps = [
        ("A canary is raised from 0 to 20 %", 20, "20"),
        ("It is raised to 100 %", 100, "100"),
        ("It is set back to 0 %", 0, "0"),
    ];
    let step = |(event, share, percent)| {
        let concerns = |device: &Device| is_in_share(device, before) != is_in_share(device, share);
        let row = fleet.event(event, concerns, |fleet| fleet.order(&Order::Share(percent)));
        let concerned = devices.iter().filter(|device| concerns(device)).count();
        assert_eq!((row.moved, row.needless, row.refused), (concerned, 0, 0), "{event}");
        assert_ended(&row);
        for (device, place) in devices.iter().zip(fleet.places()) {
            assert_eq!(place.unwrap() >= 10, is_in_share(device, share), "{}", device.id);
        }
        before = share;
        row
    };
    steps.into_iter().map(step).collect()
}

fn tenant(fleet: &mut PolicyFleet<'_>, devices: &[Device]) -> Vec<PolicyRow> {
    let concerns = |device: &Device| device.tenant == "tenant-7";
    let count = devices.iter().filter(|device| concerns(device)).count();
    let steps = [
        ("A reload adds a rule for a tenant with 2 % of the clients", TENANT, true),
        ("A reload removes it", CANARY, false),
    ];
    let step = |(event, rules, is_there)| {
        let row = fleet.event(event, concerns, |fleet| fleet.order(&Order::Reload(rules, "")));
        assert_eq!((row.moved, row.needless, row.refused), (count, 0, 0), "{event}");
        assert_ended(&row);
        for (device, place) in devices.iter().zip(fleet.places()) {
            assert_eq!(place.unwrap() >= 10, is_there && concerns(device), "{}", device.id);
        }
        row
    };
    steps.into_iter().map(step).collect()
}

/// Sessions end once, or once more if the client came back through a proxy that had not heard; those
/// that reconnected of themselves are not ended.
fn assert_ended(row: &PolicyRow) {
    let (least, most) = (row.moved * 9 / 10, row.moved * 11 / 10);
    assert!((least..=most).contains(&row.ended), "{row:?}");
}

fn banned(fleet: &mut PolicyFleet<'_>, devices: &[Device]) -> PolicyRow {
    let is_banned = |device: &Device| device.id.ends_with("25") || device.id.ends_with("75");
    let count = devices.iter().filter(|device| is_banned(device)).count();
    let event = "2 % of the clients are banned for 5 minutes";
    let row = fleet.event(
        event,
        |_| false,
        |fleet| {
            fleet.ban(is_banned, Duration::from_mins(5));
            for second in 0..299 {
                fleet.advance();
                if second % 50 == 0 {
                    let places = fleet.places();
                    let has_left =
                        |(device, place): (&Device, _)| is_banned(device) == Option::is_none(place);
                    assert!(
                        devices.iter().zip(&places).all(has_left),
                        "second {second} of the ban"
                    );
                }
            }
        },
    );
    assert_eq!((row.moved, row.ended), (0, count));
    assert!(row.refused >= count, "{row:?}");
    row
}

/// Each proxy has a quota of its own.
fn quota(fleet: &mut PolicyFleet<'_>, devices: &[Device], scale: Scale) -> Vec<PolicyRow> {
    let (limits, max) = match scale.clients {
        10_000 => ("quotas: [{ name: t, key: \"${username}\", max_connections: 80 }]", 80),
        _ => ("quotas: [{ name: t, key: \"${username}\", max_connections: 250 }]", 250),
    };
    let full = fleet.event(
        "All sessions break; a quota has room for a quarter of the largest tenant",
        |_| false,
        |fleet| {
            fleet.order(&Order::Reload(CANARY, limits));
            (0..11).for_each(|_| fleet.advance());
            fleet.disconnect_all();
            fleet.connect_all();
        },
    );
    assert_eq!((full.moved, full.ended), (0, 0));
    let places = fleet.places();
    let connected = |is_big: bool| {
        let all =
            devices.iter().zip(&places).filter(|(device, _)| (device.tenant == BIG) == is_big);
        (all.clone().filter(|(_, place)| place.is_some()).count(), all.count())
    };
    // A place that is left is soon taken by another client.
    let room = max * scale.proxies;
    assert!((room * 98 / 100..=room).contains(&connected(true).0), "{:?}", connected(true));
    let (others, all) = connected(false);
    assert_eq!(others, all);
    let open = fleet.event(
        "The quota is removed",
        |_| false,
        |fleet| {
            fleet.order(&Order::Reload(CANARY, ""));
        },
    );
    assert_eq!((open.moved, open.ended), (0, 0));
    vec![full, open]
}
