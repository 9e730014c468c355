//! Likely mistakes that `check` points out, and what `route` has to be told.

use super::issuer::{Issuer, jwk_set};
use crate::{config::Config, harness::run};

/// What `check` says of a listener's and a pool's keys; it accepts them.
fn warnings(listener: &str, pool: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let keys = jwk_set(&[Issuer::new("P-256", "key").jwk()]);
    std::fs::write(dir.path().join("jwks.json"), keys).unwrap();
    let mut config = Config::at(["127.0.0.1:1"]);
    config.listener.extend((!listener.is_empty()).then(|| listener.to_owned()));
    config.pool.extend((!pool.is_empty()).then(|| pool.to_owned()));
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, config.text()).unwrap();
    let said = run(&["check", "-c", file.to_str().unwrap()], "");
    let text = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    assert!(said.status.success(), "{text}");
    text
}

#[test]
fn likely_mistakes() {
    for (listener, pool, warning) in [
        (
            "rewrite: { client_id: \"$client_id\" }",
            "",
            "rewrite.client_id of listener mqtt is the same for every client",
        ),
        (
            "authenticate: { jwt: { keys: jwks.json, algorithms: [ES256, RS256] } }",
            "",
            "authenticate.jwt of listener mqtt accepts RS256, and there is no key for it",
        ),
        (
            "",
            "balance: { empty_client_id: assign, algorithm: round_robin }",
            "pool brokers: empty_client_id: assign has no effect on where clients go",
        ),
        ("", "balance: { key: \"${jwt.tenant}\" }", "needs a token"),
    ] {
        let said = warnings(listener, pool);
        assert!(said.contains(warning), "{listener} {pool}: {said}");
    }
    let sound = "authenticate: { jwt: { keys: jwks.json, algorithms: [ES256] } }, \
                 rewrite: { client_id: \"${jwt.sub}\" }";
    assert_eq!(warnings(sound, "balance: { empty_client_id: assign }"), "");
}

/// A text in place of `none` may be a password: no message has it.
#[test]
fn a_password_in_the_configuration_is_not_printed() {
    let config = Config::at(["127.0.0.1:1"]).listener("rewrite: { password: hunter2 }");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, config.text()).unwrap();
    let said = run(&["check", "-c", file.to_str().unwrap()], "");
    let text = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(text.contains("a new password is in a file: password_file"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn templates_have_a_limit() {
    for (template, expected) in [("x".repeat(1024), 0), ("x".repeat(1025), 2)] {
        let rewrite = format!("rewrite: {{ username: \"{template}\" }}");
        let config = Config::at(["127.0.0.1:1"]).listener(&rewrite);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, config.text()).unwrap();
        let said = run(&["check", "-c", file.to_str().unwrap()], "");
        assert_eq!(said.status.code(), Some(expected));
    }
}

#[test]
fn route_is_told_what_the_key_needs() {
    let config = Config::at(["127.0.0.1:1", "127.0.0.1:2"])
        .pool("balance: { key: \"${jwt.tenant}/${client_id}\" }");
    let plain = Config::at(["127.0.0.1:1", "127.0.0.1:2"]);
    let dir = tempfile::tempdir().unwrap();
    let route = |name: &str, config: &Config, arguments: &[&str]| {
        let file = dir.path().join(name);
        std::fs::write(&file, config.text()).unwrap();
        let said = run(&[&["route", "-c", file.to_str().unwrap()], arguments].concat(), "");
        let text = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
        (said.status.code(), text)
    };
    let (code, said) = route("a.yaml", &config, &["dev1"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("needs jwt.tenant: add --var jwt.tenant=VALUE"), "{said}");
    for number in 0..8 {
        let id = format!("dev{number}");
        let (code, told) = route("a.yaml", &config, &["--var", "jwt.tenant=acme", &id]);
        let (_, wanted) = route("b.yaml", &plain, &[&format!("acme/{id}")]);
        assert_eq!(code, Some(0));
        assert_eq!(told.split('\t').nth(1), wanted.split('\t').nth(1), "{told} {wanted}");
    }
    for (argument, fault) in
        [("jwt.tenant", "allowed: NAME=VALUE"), ("no=1", "unknown variable `no`")]
    {
        let (code, said) = route("a.yaml", &config, &["--var", argument, "dev1"]);
        assert_eq!(code, Some(2));
        assert!(said.contains(fault), "{said}");
    }
}
