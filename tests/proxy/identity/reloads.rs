//! Reloads that change who clients are: handshakes keep what applied at accept, sessions stay, and
//! what follows is as after a fresh start.

use serde_json::json;

use super::{
    issuer::{Issuer, jwk_set},
    packets::{assigned_id, client_id, recording},
};
use crate::{
    broker::Broker,
    client::{Client, Connect, connack, connect},
    config::Config,
    harness::{PATIENCE, Proxy, end, program, wait_for},
    reload::take,
};

const PING: &[u8] = b"\xC0\x00";

/// Back and forth, while sessions of either kind go on.
#[test]
fn empty_client_ids_are_assigned_or_not() {
    let (broker, connects) = recording();
    let policy =
        |of: &str| Config::of([&broker]).pool(&format!("balance: {{ empty_client_id: {of} }}"));
    let proxy = policy("least_connections").start();
    let mut sessions = Vec::new();
    for round in 0..4 {
        let assigns = round % 2 == 1;
        let config = policy(if assigns { "assign" } else { "least_connections" });
        if round > 0 {
            take(&proxy, &config);
        }
        for version in [4, 5] {
            let mut client = Client::open(proxy.address());
            client.send(&connect(version, ""));
            let sent = connects.recv_timeout(PATIENCE).unwrap();
            let id = client_id(&sent);
            assert_eq!(sent, connect(version, &id));
            assert_eq!(id.len(), if assigns { 22 } else { 0 });
            if version == 5 {
                assert_eq!(assigned_id(&mut client), assigns.then_some(id));
            } else {
                client.expect(&connack(4, 0));
            }
            sessions.push(client);
        }
        let mut clean_0 = connect(4, "");
        clean_0[9] &= !0x02;
        let answer = connack(4, if assigns { 2 } else { 0 });
        drop(Client::exchange(proxy.address(), &clean_0, &answer));
        if !assigns {
            assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), clean_0);
        }
    }
    for session in &mut sessions {
        session.echo(PING);
    }
}

/// Half a CONNECT before the reload, the other half after it.
#[test]
fn a_handshake_keeps_the_settings_of_its_accept() {
    let (broker, connects) = recording();
    let config = Config::of([&broker]);
    let before = config.clone().listener("rewrite: { client_id: \"old/${client_id}\" }");
    let after = config
        .listener("rewrite: { client_id: \"new/${client_id}\" }")
        .listener("require: [{ username: \"nobody\" }]");
    let proxy = before.start();
    let mut session = Client::exchange(proxy.address(), &connect(5, "a"), &connack(5, 0));
    assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), connect(5, "old/a"));
    let whole = connect(5, "b");
    let mut half = Client::open(proxy.address());
    half.send(&whole[..7]);
    proxy.wait_metric("mqtt_lb_connections_active", &[], 2.0);
    take(&proxy, &after);
    half.send(&whole[7..]);
    half.expect(&connack(5, 0));
    assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), connect(5, "old/b"));
    // The sessions would be refused now.
    Client::exchange(proxy.address(), &connect(5, "c"), &connack(5, 0x87)).expect_end();
    let somebody = Connect::new(5, "d").username("nobody");
    let _new = Client::exchange(proxy.address(), &somebody.bytes(), &connack(5, 0));
    let wanted = Connect { id: "new/d", ..somebody };
    assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), wanted.bytes());
    session.echo(PING);
    half.echo(PING);
    let ends = proxy.wait_ends(1);
    assert_eq!(end(&ends[0]), "proxy/connect/refused");
    // They are still known by both of their IDs.
    for id in ["a", "old/a"] {
        let found = proxy.get(&format!("/api/v1/sessions?client_id={id}"));
        assert!(found.contains("\"broker_client_id\":\"old/a\""), "{found}");
    }
    take(&proxy, &Config::of([&broker]));
    let _last = Client::exchange(proxy.address(), &connect(5, "e"), &connack(5, 0));
    assert_eq!(connects.recv_timeout(PATIENCE).unwrap(), connect(5, "e"));
}

const JWT: &str = "authenticate: { jwt: { keys: jwks.json, algorithms: [EdDSA] } }";

fn start(config: &Config, issuer: &Issuer) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jwks.json"), jwk_set(&[issuer.jwk()])).unwrap();
    Proxy::start_in(dir, &config.text(), |_| program())
}

/// The first client after the reload as well.
#[test]
fn a_claim_becomes_the_key() {
    let broker = Broker::echoing();
    let issuer = Issuer::new("Ed25519", "key");
    let config = Config::of([&broker]).listener(JWT);
    let proxy = start(&config, &issuer);
    let token = issuer.token(&json!({ "tenant": "acme" }));
    let session = |id| {
        let sent = Connect { username: Some("me"), password: Some(&token), ..Connect::new(5, id) };
        drop(Client::exchange(proxy.address(), &sent.bytes(), &connack(5, 0)));
        proxy.wait_connected(id)["route"].clone()
    };
    assert_eq!(session("before"), "hash");
    take(&proxy, &config.clone().pool("balance: { key: \"${jwt.other}\" }"));
    assert_eq!(session("lacks-it"), "fallback_key");
    take(&proxy, &config.pool("balance: { key: \"${jwt.tenant}\" }"));
    assert_eq!(session("after"), "hash");
}

/// A broker is added: sessions move that a fresh start would place on it, by their claims.
#[test]
fn sessions_are_rebalanced_by_their_claims() {
    let brokers: Vec<_> = (0..3).map(|_| Broker::echoing()).collect();
    let issuer = Issuer::new("Ed25519", "key");
    let config = |brokers: &[Broker]| {
        Config::of(brokers)
            .listener(JWT)
            .pool("balance: { key: \"${jwt.tenant}/${client_id}\" }")
            .pool("rebalance: { rate: 1000 }")
    };
    let ids: Vec<_> = (0..40).map(|n| format!("pump-{}-{n}", n % 4)).collect();
    let connect_all = |proxy: &Proxy| -> Vec<(Client, String)> {
        let one = |(n, id): (usize, &String)| {
            let token = issuer.token(&json!({ "tenant": format!("t-{}", n % 5) }));
            let sent =
                Connect { username: Some("me"), password: Some(&token), ..Connect::new(5, id) };
            let client = Client::exchange(proxy.address(), &sent.bytes(), &connack(5, 0));
            let place = proxy.wait_connected(id)["upstream"].as_str().unwrap().to_owned();
            (client, place)
        };
        ids.iter().enumerate().map(one).collect()
    };
    let proxy = start(&config(&brokers[..2]), &issuer);
    let sessions = connect_all(&proxy);
    let fresh = start(&config(&brokers), &issuer);
    let wanted: Vec<_> = connect_all(&fresh).into_iter().map(|(_, place)| place).collect();
    let moves = sessions.iter().zip(&wanted).filter(|((_, had), to)| had != *to).count();
    assert!((1..ids.len()).contains(&moves));
    take(&proxy, &config(&brokers));
    wait_for("the moves", || {
        let is_move = |line: &&serde_json::Value| line["end_cause"] == "rebalance";
        (proxy.log().iter().filter(is_move).count() == moves).then_some(())
    });
    for (((mut client, had), to), id) in sessions.into_iter().zip(&wanted).zip(&ids) {
        if had == *to {
            client.echo(PING);
        } else {
            assert_eq!(to, "b3", "{id}");
            assert_eq!(end(&proxy.wait_end(id)), "proxy/relay/rebalance");
        }
    }
}

/// A listener's own limit, the global one, and what a reload changes of them.
#[test]
fn idle_limits_of_listeners() {
    let broker = Broker::echoing();
    let config = |of_listener: &str, global: &str| {
        Config::of([&broker])
            .listener(of_listener)
            .another_listener("name: other")
            .more(&format!("timeouts: {{ idle: {global} }}"))
    };
    let session = |proxy: &Proxy, listener: &str, id: &str| {
        let sent = Connect::new(4, id).keep_alive(0).bytes();
        Client::exchange(proxy.address_of(listener), &sent, &connack(4, 0))
    };
    let own = "timeouts: { idle: 1s }";
    let proxy = config(own, "1h").start();
    let _short = session(&proxy, "mqtt", "own");
    let mut long = session(&proxy, "other", "global");
    assert_eq!(end(&proxy.wait_end("own")), "proxy/relay/idle");
    long.echo(PING);

    take(&proxy, &config("timeouts: { idle: 1h }", "1s"));
    let mut own_long = session(&proxy, "mqtt", "own-long");
    let _global_short = session(&proxy, "other", "global-short");
    assert_eq!(end(&proxy.wait_end("global-short")), "proxy/relay/idle");
    own_long.echo(PING);
    long.echo(PING);

    take(
        &proxy,
        &Config::of([&broker]).another_listener("name: other").more("timeouts: { idle: 1s }"),
    );
    let _no_own = session(&proxy, "mqtt", "no-own");
    assert_eq!(end(&proxy.wait_end("no-own")), "proxy/relay/idle");
    own_long.echo(PING);
    long.echo(PING);
}
