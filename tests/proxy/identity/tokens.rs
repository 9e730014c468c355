//! Tokens: `authenticate.jwt`.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    issuer::{Issuer, base64url, jwk_set},
    packets::recording,
};
use crate::{
    client::{Client, Connect, connack, connect},
    config::Config,
    harness::{Proxy, end, program, rejects, run},
};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A proxy whose keys are in `jwks.json` and `keys.pem`.
fn start(config: &Config, issuers: &[&Issuer]) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    let set = jwk_set(&issuers.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>());
    std::fs::write(dir.path().join("jwks.json"), set).unwrap();
    let pem: String = issuers.iter().map(|issuer| issuer.pem()).collect();
    std::fs::write(dir.path().join("keys.pem"), pem).unwrap();
    Proxy::start_in(dir, &config.text(), |_| program())
}

fn jwt(more: &str) -> String {
    let keys = "keys: jwks.json, algorithms: [ES256, EdDSA, RS256]";
    format!("authenticate: {{ jwt: {{ {keys}{more} }} }}")
}

/// Tokens of each kind of key, as password and as username; claims as client ID, key and log field.
#[test]
fn a_token_says_who_a_client_is() {
    let (broker, connects) = recording();
    let issuers = [Issuer::new("RSA", "1"), Issuer::new("P-256", "2"), Issuer::new("Ed25519", "3")];
    let config = Config::of([&broker])
        .listener(&jwt(", issuer: \"https://id.example\", audience: mqtt"))
        .listener("require: [{ client_id: \"${jwt.sub}-*\" }]")
        .listener("rewrite: { username: \"${jwt.tenant}\", password: none }")
        .pool("balance: { key: \"${jwt.tenant}/${client_id}\" }");
    let by_username = "name: token, authenticate: { jwt: { from: username, keys: keys.pem, \
                       algorithms: [ES256, EdDSA, RS256] } }";
    let proxy = start(&config.another_listener(by_username), &issuers.each_ref());
    for (issuer, version) in issuers.iter().zip([5, 4, 3]) {
        let claims = json!({
            "iss": "https://id.example", "aud": ["web", "mqtt"], "exp": now() + 60,
            "sub": "alice", "tenant": "acme",
        });
        let token = issuer.token(&claims);
        let sent = Connect {
            username: Some("ignored"),
            password: Some(&token),
            ..Connect::new(version, "alice-1")
        };
        let mut client = Client::exchange(proxy.address(), &sent.bytes(), &connack(version, 0));
        client.echo(b"\xC0\x00");
        let wanted = Connect::new(version, "alice-1").username("acme").bytes();
        assert_eq!(connects.recv().unwrap(), wanted);
        drop(client);
        let line = proxy.wait_log("the end", |line| {
            line["event"] == "disconnect" && line["protocol_version"] == version
        });
        assert_eq!((&line["jwt_sub"], &line["username"]), (&"alice".into(), &"ignored".into()));
        assert_eq!((&line["route"], &line["has_password"]), (&"hash".into(), &true.into()));

        let sent = Connect::new(version, "any").username(&token).bytes();
        let mut client = Client::exchange(proxy.address_of("token"), &sent, &connack(version, 0));
        client.echo(b"\xC0\x00");
        assert_eq!(connects.recv().unwrap(), sent);
        // The username is a secret.
        let sessions = proxy.get("/api/v1/sessions?listener=token");
        assert!(sessions.contains("\"client_id\":\"any\""), "{sessions}");
        drop(client);
        proxy.wait_log("the end", |line| {
            line["event"] == "disconnect"
                && line["listener"] == "token"
                && line["protocol_version"] == version
        });
        let id = format!("refused-{version}");
        let refused = format!("{token}x");
        let sent = Connect::new(version, &id).username(&refused).bytes();
        let code = if version == 5 { 0x86 } else { 4 };
        Client::exchange(proxy.address_of("token"), &sent, &connack(version, code)).expect_end();
        proxy.wait_end(&id);
        let written = std::fs::read_to_string(proxy.path("access.log")).unwrap() + &sessions;
        assert!(!written.contains(&token[..20]), "{written}");
    }
}

#[test]
fn tokens_that_are_refused() {
    let (broker, _connects) = recording();
    let (issuer, stranger) = (Issuer::new("P-256", "key"), Issuer::new("P-256", "key"));
    let more = ", issuer: \"https://id.example\", audience: mqtt, leeway: 0s";
    let proxy = start(&Config::of([&broker]).listener(&jwt(more)), &[&issuer]);
    let valid = json!({ "iss": "https://id.example", "aud": "mqtt", "sub": "alice" });
    let with = |name: &str, value: Value| {
        let mut claims = valid.clone();
        claims[name] = value;
        issuer.token(&claims)
    };
    let good = issuer.token(&valid);
    let long = "x".repeat(60_000);
    let mut cases = vec![
        (None, 0x86, "no token in the field".to_owned()),
        (Some(String::new()), 0x86, "no token in the field".to_owned()),
        (Some("secret".to_owned()), 0x86, "not a JSON Web Token".to_owned()),
        (Some(good[..good.len() - 1].to_owned()), 0x86, "not a JSON Web Token".to_owned()),
        (Some(good[..40].to_owned()), 0x86, "not a JSON Web Token".to_owned()),
        (
            Some(long),
            0x86,
            "a token of 60000 bytes is longer than the 16384 that are read".to_owned(),
        ),
        (Some(stranger.token(&valid)), 0x86, "the signature is invalid".to_owned()),
        (
            Some(issuer.signed(&json!({ "alg": "ES256", "kid": "other" }), &valid)),
            0x86,
            "no key for ES256 with the ID \"other\"".to_owned(),
        ),
        (Some(with("exp", (now() - 1).into())), 0x87, "the token expired ".to_owned()),
        (
            Some(with("nbf", (now() + 60).into())),
            0x87,
            "the token is not valid yet, for another ".to_owned(),
        ),
        (
            Some(with("iss", "else".into())),
            0x87,
            "the claim iss is not the configured issuer".to_owned(),
        ),
        (Some(with("aud", "web".into())), 0x87, "the claim aud does not contain".to_owned()),
    ];
    for algorithm in ["none", "HS256", "RS384"] {
        let token = issuer.signed(&json!({ "alg": algorithm }), &valid);
        let detail = format!("the token is signed by \"{algorithm}\", which is not one of");
        cases.push((Some(token), 0x86, detail));
    }
    for (number, (token, code, _)) in cases.iter().enumerate() {
        for version in [5, 4] {
            let id = format!("{number}-{version}");
            let sent = Connect {
                username: Some("me"),
                password: token.as_deref(),
                ..Connect::new(version, &id)
            };
            let code = if version == 5 { *code } else { code - 0x82 };
            Client::exchange(proxy.address(), &sent.bytes(), &connack(version, code)).expect_end();
            let line = proxy.wait_end(&id);
            assert_eq!(end(&line), "proxy/connect/refused");
            let detail = line["detail"].as_str().unwrap();
            assert!(detail.starts_with(&cases[number].2), "{number}: {detail}");
        }
    }
    assert_eq!(broker.connections(), 0);
    let refused = proxy.metric("mqtt_lb_identity_refused_total", &["rule=\"authenticate.jwt\""]);
    assert_eq!(refused as usize, 2 * cases.len());
    // No part of a token is in any log.
    let written = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    let written = written + &proxy.stderr().concat();
    for (token, ..) in &cases {
        for part in token.iter().flat_map(|token| token.split('.')).filter(|part| part.len() > 8) {
            assert!(!written.contains(&part[..part.len().min(20)]));
        }
    }
}

/// `on_expiry: close` ends a session when its token expires; the default lets it go on.
#[test]
fn a_session_ends_with_its_token() {
    let (broker, _connects) = recording();
    let issuer = Issuer::new("Ed25519", "key");
    let keep = "name: keep, authenticate: { jwt: { keys: keys.pem, algorithms: [EdDSA] } }";
    let config = Config::of([&broker])
        .listener(&jwt(", leeway: 0s, on_expiry: close"))
        .another_listener(keep);
    let proxy = start(&config, &[&issuer]);
    let exp = now() + 3;
    let token = issuer.token(&json!({ "exp": exp }));
    let open = |listener: &str, version, id: &str| {
        let sent =
            Connect { username: Some("me"), password: Some(&token), ..Connect::new(version, id) };
        Client::exchange(proxy.address_of(listener), &sent.bytes(), &connack(version, 0))
    };
    // A time beyond 32 bits is never reached.
    let far = issuer.token(&json!({ "exp": now() + (1 << 32) + 1 }));
    let far = Connect { username: Some("me"), password: Some(&far), ..Connect::new(5, "far") };
    let mut far = Client::exchange(proxy.address(), &far.bytes(), &connack(5, 0));
    let mut kept = open("keep", 5, "kept");
    let (mut told, mut closed) = (open("mqtt", 5, "told"), open("mqtt", 4, "closed"));
    // It survives a reload.
    proxy.signal(Signal::HUP);
    told.echo(b"\xC0\x00");
    assert_eq!(told.rest(), (b"\xE0\x01\x87".to_vec(), Ok(())));
    closed.expect_end();
    for id in ["told", "closed"] {
        let line = proxy.wait_end(id);
        assert_eq!(end(&line), "proxy/relay/expired", "{line}");
        assert!(now() >= exp, "{line}");
    }
    kept.echo(b"\xC0\x00");
    far.echo(b"\xC0\x00");
}

/// A token that expires in centuries outlives one that expires soon.
#[test]
fn a_time_far_ahead() {
    let (broker, _connects) = recording();
    let issuer = Issuer::new("Ed25519", "key");
    let more = ", leeway: 0s, on_expiry: close";
    let proxy = start(&Config::of([&broker]).listener(&jwt(more)), &[&issuer]);
    let open = |id: &str, exp: u64| {
        let token = issuer.token(&json!({ "exp": exp }));
        let sent = Connect { username: Some("me"), password: Some(&token), ..Connect::new(5, id) };
        Client::exchange(proxy.address(), &sent.bytes(), &connack(5, 0))
    };
    let far = [("wrapped", now() + (1 << 32)), ("millis", now() * 1000), ("max", u64::MAX)];
    let mut far = far.map(|(id, exp)| open(id, exp));
    let mut soon = open("soon", now() + 2);
    assert_eq!(soon.rest(), (b"\xE0\x01\x87".to_vec(), Ok(())));
    for client in &mut far {
        client.echo(b"\xC0\x00");
    }
}

/// Keys are read again by a reload, and when they change; a file that has vanished refuses it, and nothing changes.
#[test]
fn keys_are_rotated_by_a_reload() {
    let (broker, _connects) = recording();
    let (old, new) = (Issuer::new("P-256", "old"), Issuer::new("RSA", "new"));
    let proxy = start(&Config::of([&broker]).listener(&jwt("")), &[&old]);
    let code = |issuer: &Issuer| {
        let token = issuer.token(&json!({}));
        let sent =
            Connect { username: Some("me"), password: Some(&token), ..Connect::new(4, "id") };
        let mut client = Client::open(proxy.address());
        client.send(&sent.bytes());
        client.rest_of(4)[3]
    };
    assert_eq!((code(&old), code(&new)), (0, 4));
    let keys = proxy.path("jwks.json");
    std::fs::write(&keys, jwk_set(&[old.jwk(), new.jwk()])).unwrap();
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("reloaded; sessions are kept");
    assert_eq!((code(&old), code(&new)), (0, 0));
    // Without a signal.
    std::fs::write(&keys, jwk_set(&[new.jwk()])).unwrap();
    proxy.wait_stderr("changed files are in use");
    assert_eq!((code(&old), code(&new)), (4, 0));
    std::fs::write(&keys, jwk_set(&[old.jwk(), new.jwk()])).unwrap();
    proxy.wait_metric("mqtt_lb_file_reloads_total", &["applied"], 2.0);
    for (contents, fault) in [
        (Some(jwk_set(&[])), "holds no public key for signatures"),
        (
            Some(jwk_set(&[new.jwk(), json!({ "kty": "RSA", "kid": "bad" })])),
            "has an invalid key, number 2",
        ),
        (None, "cannot be read"),
    ] {
        match contents {
            Some(contents) => std::fs::write(&keys, contents).unwrap(),
            None => std::fs::remove_file(&keys).unwrap(),
        }
        proxy.signal(Signal::HUP);
        proxy.wait_stderr(fault);
        assert_eq!((code(&old), code(&new)), (0, 0));
    }
}

#[test]
fn a_bad_configuration_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::new("P-256", "key");
    std::fs::write(dir.path().join("jwks.json"), jwk_set(&[issuer.jwk()])).unwrap();
    for (keys, fault) in [
        ("{}", "authenticate.jwt: is required; allowed: a mapping with keys and algorithms"),
        ("{ jwt: { algorithms: [ES256] } }", "jwt.keys: is required"),
        (
            "{ jwt: { keys: jwks.json } }",
            "jwt.algorithms: is required; allowed: a list such as [ES256, RS256]",
        ),
        (
            "{ jwt: { keys: jwks.json, algorithms: [HS256] } }",
            "\"HS256\" is unknown; allowed: RS256",
        ),
        ("{ jwt: { keys: jwks.json, algorithms: [none] } }", "\"none\" is unknown"),
        ("{ jwt: { keys: jwks.json, algorithms: [] } }", "is an empty list"),
        ("{ jwt: { keys: no.json, algorithms: [ES256] } }", "cannot be read"),
        ("{ jwt: { keys: jwks.json, algorithms: [ES256], leeway: 2h } }", "jwt.leeway"),
        ("{ jwt: { keys: jwks.json, algorithms: [ES256], from: body } }", "\"body\" is unknown"),
    ] {
        let config = Config::at(["127.0.0.1:1"]).listener(&format!("authenticate: {keys}"));
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, config.text()).unwrap();
        let said = run(&["check", "-c", file.to_str().unwrap()], "");
        assert_eq!(said.status.code(), Some(2), "{keys}");
        let said =
            String::from_utf8(said.stderr).unwrap() + &String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(fault), "{keys}: {said}");
    }
}

/// A thousand tokens do not keep pings waiting: each signature has its share of a turn.
#[test]
fn a_flood_of_tokens() {
    let (broker, _connects) = recording();
    let issuer = Issuer::new("RSA", "key");
    let quiet = "name: plain";
    let proxy =
        start(&Config::of([&broker]).listener(&jwt("")).another_listener(quiet), &[&issuer]);
    let mut pinging = Client::session(proxy.address_of("plain"), "pinging");
    let bad = format!(
        "{}.{}.{}",
        base64url(br#"{"alg":"RS256"}"#),
        base64url(b"{}"),
        base64url(&[7; 256])
    );
    let flood: Vec<_> = (0..200)
        .map(|number| {
            let mut client = Client::open(proxy.address());
            let id = number.to_string();
            let sent =
                Connect { username: Some("me"), password: Some(&bad), ..Connect::new(4, &id) };
            client.send(&sent.bytes());
            client
        })
        .collect();
    pinging.echo(b"\xC0\x00");
    for mut client in flood {
        client.expect(&connack(4, 4));
    }
    pinging.echo(b"\xC0\x00");
    assert_eq!(rejects(&proxy, 200).len(), 200);
    drop(Client::exchange(proxy.address_of("plain"), &connect(4, "after"), &connack(4, 0)));
}

/// `max_connections_per_username` counts the username that the broker is sent: one that a claim of
/// the token names, and no username that is a token.
#[test]
fn a_quota_by_the_username_of_a_token() {
    let (broker, _connects) = recording();
    let issuer = Issuer::new("P-256", "key");
    let by_username = "name: token, authenticate: { jwt: { from: username, keys: jwks.json, \
                       algorithms: [ES256] } }";
    let config = Config::of([&broker])
        .workers(2)
        .listener(&jwt(""))
        .listener("rewrite: { username: \"${jwt.tenant}\" }")
        .another_listener(by_username)
        .more("limits: { max_connections_per_username: 2 }");
    let proxy = start(&config, &[&issuer]);
    let token = |tenant: &str| issuer.token(&json!({ "tenant": tenant, "exp": now() + 600 }));
    let open = |version: u8, id: &str, tenant: &str, code: u8| {
        // The username that the client sends counts nowhere.
        let password = token(tenant);
        let names = Connect::new(version, id).username(id);
        let sent = Connect { password: Some(&password), ..names }.bytes();
        Client::exchange(proxy.address(), &sent, &connack(version, code))
    };
    let first = open(4, "a1", "acme", 0);
    let _second = open(5, "a2", "acme", 0);
    for (version, code) in [(4, 3), (5, 0x97)] {
        let id = format!("more-{version}");
        open(version, &id, "acme", code).expect_end();
        let line = proxy.wait_end(&id);
        assert_eq!(end(&line), "proxy/connect/limit");
        assert_eq!(line["detail"], "more than max_connections_per_username of \"acme\"");
    }
    let _other = open(5, "b1", "bolt", 0);
    drop(first);
    proxy.wait_end("a1");
    let _third = open(4, "a3", "acme", 0);

    let same = token("acme");
    let by_token = |id: &str| {
        let sent = Connect::new(4, id).username(&same).bytes();
        Client::exchange(proxy.address_of("token"), &sent, &connack(4, 0))
    };
    let _uncounted = ["t1", "t2", "t3"].map(by_token);
    let quota = ["quota=\"max_connections_per_username\""];
    proxy.wait_metric("mqtt_lb_quota_refused_total", &quota, 2.0);
}
