use std::num::NonZeroU32;

use super::{QuotaLeases, Quotas};
use crate::{config, metrics::Metrics, template::ClientFields};

fn quota(name: &str, key: &str, max: u32) -> config::Quota {
    config::Quota {
        name: name.into(),
        key: key.parse().unwrap(),
        max_connections: NonZeroU32::new(max).unwrap(),
    }
}

fn client<'a>(username: &'a str, sni: &'a str) -> ClientFields<'a> {
    let field = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    ClientFields { username: field(username), sni: field(sni), ..ClientFields::default() }
}

fn quotas(all: &[config::Quota]) -> Quotas {
    let quotas = Quotas::default();
    quotas.reconfigure(all, &Metrics::new());
    quotas
}

/// The fullest keys of the first quota.
fn fullest(quotas: &Quotas) -> Vec<(String, u32)> {
    let usage = quotas.usage().swap_remove(0);
    usage.fullest.into_iter().map(|(key, count)| (key.to_string(), count)).collect()
}

#[test]
fn each_key_has_its_own_limit() {
    let quotas = quotas(&[quota("user", "${username}", 2)]);
    let set = quotas.current();
    let mut held = Vec::new();
    for (username, fits) in
        [("a", true), ("a", true), ("b", true), ("a", false), ("b", true), ("b", false)]
    {
        let (leases, reached) = QuotaLeases::enter(&set, &client(username, ""));
        assert_eq!(reached.is_empty(), fits, "{username}");
        held.push(leases);
    }
    assert_eq!(fullest(&quotas), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    held.remove(0);
    assert!(QuotaLeases::enter(&set, &client("a", "")).1.is_empty());
    drop(held);
    assert_eq!((fullest(&quotas), quotas.usage()[0].keys), (vec![], 0));
}

#[test]
fn clients_without_the_key_are_not_counted() {
    let quotas = quotas(&[quota("tenant", "${sni}/${username}", 1)]);
    for client in [client("", ""), client("a", ""), client("", "host")] {
        let (leases, reached) = QuotaLeases::enter(&quotas.current(), &client);
        assert!(leases.is_empty() && reached.is_empty());
    }
    assert_eq!(quotas.usage()[0].keys, 0);
}

#[test]
fn only_full_quotas_are_reached() {
    let quotas = quotas(&[quota("user", "${username}", 1), quota("tenant", "${sni}", 3)]);
    let set = quotas.current();
    let first = QuotaLeases::enter(&set, &client("a", "host")).0;
    let (mut second, reached) = QuotaLeases::enter(&set, &client("a", "host"));
    assert_eq!(reached.len(), 1);
    assert!(first.counts_in(&reached[0]) && !second.counts_in(&reached[0]));
    assert!(!second.retry(&reached[0]));
    assert_eq!(reached[0].refuse(), "more than max_connections of quota user for \"a\"");
    second.exceed(&reached[0]);
    assert_eq!(fullest(&quotas), [("a".to_owned(), 2)]);
    drop(first);
    // Beyond the limit it counts like any other.
    assert!(!second.retry(&reached[0]));
    drop(second);
    assert_eq!(fullest(&quotas), []);
}

#[test]
fn connections_are_counted_again_when_quotas_change() {
    let quotas = Quotas::default();
    let metrics = Metrics::new();
    let clients = [client("a", "host"), client("a", "host"), client("b", "host")];
    let mut held: Vec<_> =
        clients.iter().map(|client| QuotaLeases::enter(&quotas.current(), client).0).collect();
    let recount = |quotas: &Quotas, held: &mut Vec<QuotaLeases>| {
        let set = quotas.current();
        held.iter_mut().zip(&clients).for_each(|(held, client)| held.recount(&set, client));
    };
    let user = |max| quota("q", "${username}", max);
    let of = |key: &str, count| (key.to_owned(), count);
    for (config, wanted) in [
        // A limit below what is there ends nothing.
        (vec![user(1)], vec![of("a", 2), of("b", 1)]),
        (vec![user(9)], vec![of("a", 2), of("b", 1)]),
        (vec![quota("q", "${sni}", 9)], vec![of("host", 3)]),
        (vec![quota("other", "${sni}/${username}", 9)], vec![of("host/a", 2), of("host/b", 1)]),
        (vec![quota("q", "${tls_cn}", 9)], vec![]),
        (vec![user(2), quota("tenant", "${sni}", 9)], vec![of("a", 2), of("b", 1)]),
    ] {
        quotas.reconfigure(&config, &metrics);
        for _ in 0..2 {
            recount(&quotas, &mut held);
            assert_eq!(fullest(&quotas), wanted);
        }
    }
    quotas.reconfigure(&[], &metrics);
    recount(&quotas, &mut held);
    assert!(held.iter().all(QuotaLeases::is_empty) && quotas.usage().is_empty());
    // Nothing is remembered of quotas that were gone meanwhile.
    quotas.reconfigure(&[user(2)], &metrics);
    assert_eq!(fullest(&quotas), []);
}

#[test]
fn the_status_is_bounded() {
    let quotas = quotas(&[quota("user", "${username}", 9)]);
    let set = quotas.current();
    let names: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let mut held: Vec<_> =
        names.iter().map(|name| QuotaLeases::enter(&set, &client(name, ""))).collect();
    held.extend((0..7).map(|_| QuotaLeases::enter(&set, &client("77", ""))));
    let usage = quotas.usage().swap_remove(0);
    assert_eq!((usage.keys, usage.fullest.len(), usage.max_connections), (1000, 5, 9));
    assert_eq!((&*usage.fullest[0].0, usage.fullest[0].1), ("77", 8));
}

/// However many workers connect at once, no more than the limit are let in.
#[test]
fn threads_share_the_counts() {
    let quotas = quotas(&[quota("user", "${username}", 50)]);
    let enter = || {
        let all = (0..100).map(|_| QuotaLeases::enter(&quotas.current(), &client("a", "")));
        all.filter(|(_, reached)| reached.is_empty()).map(|(leases, _)| leases).collect::<Vec<_>>()
    };
    let held: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(enter)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 50);
    assert_eq!(fullest(&quotas), [("a".to_owned(), 50)]);
}
