//! Session tickets: their keys in a file, how many there are, and whom they serve.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use rustix::process::Signal;
use rustls::ClientConfig;

use crate::{
    broker::Broker,
    config::Config,
    harness::{Proxy, end, rejects, wait_for},
    pki::{Ca, Issued, Leaf},
    tls_client::{Pki, TlsClient, Versions},
    warnings::warnings,
};

/// 32 bytes in Base64, of one letter each.
const KEYS: [&str; 2] = [
    "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
    "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=",
];

fn keys(pki: &Pki, name: &str, lines: &[&str]) -> String {
    pki.write(name, &(lines.join("\n") + "\n"));
    let file = pki.path().join(name);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    format!(", ticket_keys: {{ file: \"{}\" }}", file.display())
}

fn config(broker: &Broker, pki: &Pki, more: &str) -> Config {
    Config::of([broker]).listener(&pki.tls(more))
}

/// A session, which leaves its ticket in the client's configuration.
#[track_caller]
fn resumes(config: &Arc<ClientConfig>, proxy: &Proxy) -> bool {
    let mut client = TlsClient::open(config, proxy.address(), "localhost").session("device");
    client.echo(b"\xC0\x00");
    client.is_resumed()
}

/// Has the files read again.
#[track_caller]
fn reload(proxy: &Proxy) {
    let reloads = || proxy.metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""]);
    let before = reloads();
    proxy.signal(Signal::HUP);
    wait_for("the reload", || (reloads() > before).then_some(()));
}

/// At another proxy, after a restart, and after a reload, which without the file ends all tickets.
#[test]
fn a_fleet_shares_its_keys() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let shared = keys(&pki, "tickets", &KEYS[..1]);
    for versions in [Versions::Both, Versions::Only12] {
        let one = config(&broker, &pki, &shared).start();
        let other = config(&broker, &pki, &shared).start();
        let alone = config(&broker, &pki, "").start();
        let client = pki.client().versions(versions).config();
        assert!(!resumes(&client, &one));
        assert!(resumes(&client, &other));
        drop((one, other));
        let restarted = config(&broker, &pki, &shared).start();
        assert!(resumes(&client, &restarted));
        reload(&restarted);
        assert!(resumes(&client, &restarted));
        assert!(!resumes(&client, &alone));
        assert!(resumes(&client, &alone));
        reload(&alone);
        assert!(!resumes(&client, &alone));
    }
}

/// The steps of the manual: while one proxy has taken a step and the other has not, a ticket of
/// either one serves at both.
#[test]
fn keys_are_rotated_by_reload() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let [a, b] = KEYS;
    let names = ["one", "two"];
    let proxies = names.map(|name| config(&broker, &pki, &keys(&pki, name, &[a])).start());
    let [busy, idle] = [0, 1].map(|_| pki.client().config());
    assert!(!resumes(&busy, &proxies[0]));
    assert!(!resumes(&idle, &proxies[0]));
    for lines in [&[a, b][..], &[b, a], &[b]] {
        for (name, proxy) in names.into_iter().zip(&proxies) {
            keys(&pki, name, lines);
            reload(proxy);
            for proxy in [&proxies[0], &proxies[1], &proxies[0]] {
                assert!(resumes(&busy, proxy), "{lines:?}");
            }
        }
    }
    assert!(!resumes(&idle, &proxies[0]), "its ticket is of the key that is gone");
}

/// A changed file is enough.
#[test]
fn keys_are_rotated_without_a_signal() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let tls = keys(&pki, "tickets", &KEYS[..1]);
    let proxy = config(&broker, &pki, &tls).more("watch_interval: 100ms").start();
    let client = pki.client().config();
    assert!(!resumes(&client, &proxy));
    assert!(resumes(&client, &proxy));
    keys(&pki, "tickets", &KEYS[1..]);
    proxy.wait_stderr("changed files are in use");
    assert!(!resumes(&client, &proxy));
    assert!(resumes(&client, &proxy));
}

fn with_ca(pki: &Pki, auth: &str, files: &[(&str, &str)]) -> String {
    let files: String = files.iter().map(|(key, name)| pki.file(key, name)).collect();
    format!(", client_auth: {auth}{files}")
}

/// Listeners of one file of keys that admit other clients take none of each other's tickets; the
/// same ones, in files of another order, do.
#[test]
fn tickets_are_bound_to_who_is_admitted() {
    let pki = Pki::new();
    let (other, device) = (Ca::new("Other CA"), pki.issue("device"));
    pki.write("other.pem", &other.pem());
    pki.write("both.pem", &(pki.ca.pem() + &other.pem()));
    pki.write("turned.pem", &(other.pem() + "\n# the first again\n" + &pki.ca.pem()));
    pki.write("none.crl", &(pki.ca.crl(&[], 4000) + &other.crl(&[], 4000)));
    pki.write("some.crl", &(pki.ca.crl(&[66], 4000) + &other.crl(&[], 4000)));
    pki.write_issued("named", &pki.ca.issue(&Leaf::new("x", &["localhost", "more.test"])));
    let ca = |name| ("client_ca", name);
    let crl = |name| ("client_crl", name);
    let broker = Broker::echoing();
    let file = keys(&pki, "tickets", &KEYS[..1]);
    let start = |more: &str| config(&broker, &pki, &format!("{file}{more}")).start();
    let first = start(&with_ca(&pki, "required", &[ca("both.pem")]));
    let named = pki.tls(&file).replace("server.", "named.");
    let others = [
        (start(""), "no certificates"),
        (start(&with_ca(&pki, "optional", &[ca("both.pem")])), "optional"),
        (start(&with_ca(&pki, "required", &[ca("ca.pem")])), "a CA less"),
        (start(&with_ca(&pki, "required", &[ca("both.pem"), crl("none.crl")])), "CRLs"),
        (start(&with_ca(&pki, "required", &[ca("both.pem"), crl("some.crl")])), "other CRLs"),
        (Config::of([&broker]).listener(&named).start(), "another name"),
    ];
    let same = start(&with_ca(&pki, "required", &[ca("turned.pem")]));
    for versions in [Versions::Both, Versions::Only12] {
        let trust = pki.client().versions(versions).with(&device);
        for (proxy, difference) in &others {
            for (from, to) in [(&first, proxy), (proxy, &first)] {
                let client = trust.config();
                assert!(!resumes(&client, from), "{difference}");
                assert!(!resumes(&client, to), "{difference}");
            }
        }
        let client = trust.config();
        assert!(!resumes(&client, &first));
        assert!(resumes(&client, &same));
    }
    assert_eq!(same.wait_end("device")["tls_cn"], "device");
}

/// A ticket does not bring a client past the CRL that revokes it, at this proxy or another.
#[test]
fn a_revoked_client_has_no_ticket() {
    let pki = Pki::new();
    let revoked: Issued = pki.ca.issue(&Leaf { serial: 66, ..Leaf::new("thief", &[]) });
    let file = keys(&pki, "tickets", &KEYS[..1]);
    pki.write("clients.crl", &pki.ca.crl(&[], 4000));
    let auth = with_ca(&pki, "required", &[("client_ca", "ca.pem"), ("client_crl", "clients.crl")]);
    let broker = Broker::echoing();
    let more = format!("{file}{auth}");
    let proxies = [0, 1].map(|_| config(&broker, &pki, &more).start());
    for versions in [Versions::Both, Versions::Only12] {
        pki.write("clients.crl", &pki.ca.crl(&[], 4000));
        proxies.iter().for_each(reload);
        let client = pki.client().versions(versions).with(&revoked).config();
        assert!(!resumes(&client, &proxies[0]));
        assert!(resumes(&client, &proxies[1]));
        pki.write("clients.crl", &pki.ca.crl(&[66], 4000));
        for proxy in &proxies {
            reload(proxy);
            let before = proxy.log().iter().filter(|line| line["event"] == "reject").count();
            let failure = TlsClient::open(&client, proxy.address(), "localhost").failure();
            assert!(failure.to_string().contains("CertificateRevoked"), "{failure}");
            let line = rejects(proxy, before + 1).pop().unwrap();
            assert_eq!(end(&line), "proxy/handshake/refused");
        }
    }
}

#[test]
fn no_tickets_and_more_of_them() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    for count in [0, 1, 4] {
        let proxy = config(&broker, &pki, &format!(", tickets: {count}")).start();
        for versions in [Versions::Both, Versions::Only12] {
            let client = pki.client().versions(versions).config();
            let mut first = TlsClient::open(&client, proxy.address(), "localhost").session("first");
            first.echo(b"\xC0\x00");
            if matches!(versions, Versions::Both) {
                assert_eq!(first.stream.conn.tls13_tickets_received(), count);
            }
            assert_eq!(resumes(&client, &proxy), count > 0);
        }
    }
}

/// A reload that cannot read the keys is refused, and the ones before stay.
#[test]
fn bad_files_at_a_reload() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let more = keys(&pki, "tickets", &KEYS[..1]);
    let proxy = config(&broker, &pki, &more).start();
    let client = pki.client().config();
    assert!(!resumes(&client, &proxy));
    let file = pki.path().join("tickets");
    let refused = || proxy.metric("mqtt_lb_config_reloads_total", &["outcome=\"refused\""]);
    let not_base64 = [KEYS[0], "\n?\n"].concat();
    for (number, (said, contents)) in [
        ("holds no key", Some("# none yet\n")),
        ("line 1: is a key of 24 bytes", Some(&KEYS[0][..32])),
        ("line 2: is not Base64", Some(&not_base64)),
        ("cannot be read: No such file", None),
    ]
    .iter()
    .enumerate()
    {
        match contents {
            Some(contents) => fs::write(&file, contents).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        proxy.signal(Signal::HUP);
        proxy.wait_stderr(said);
        wait_for("the refusal", || (refused() as usize == number + 1).then_some(()));
        assert!(resumes(&client, &proxy), "{said}");
    }
    let keys_are_logged = proxy.stderr().iter().any(|line| line.contains(&KEYS[0][..30]));
    assert!(!keys_are_logged);
}

#[test]
fn files_that_are_warned_of() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let more = keys(&pki, "tickets", &KEYS);
    let config = config(&broker, &pki, &more);
    assert_eq!(warnings(&config), [""; 0]);
    keys(&pki, "tickets", &[KEYS[0], KEYS[1], KEYS[0]]);
    let file = pki.path().join("tickets");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (file, key) = (file.display(), "tls.ticket_keys of listener mqtt");
    let said = [
        format!(
            "{key}: any user of this machine can read {file}, and with it decrypt TLS 1.2 and \
             impersonate clients: chmod o= {file}"
        ),
        format!(
            "{key}: line 3 of {file} repeats an earlier key: remove it, or replace it by a new one"
        ),
    ];
    assert_eq!(warnings(&config), said);
    let proxy = config.start();
    for said in &said {
        proxy.wait_stderr(said);
    }
}
