//! What has to hold of a client: `require`.

use super::packets::recording;
use crate::{
    client::{Client, Connect, connack, connect},
    config::Config,
    harness::{end, rejects, run},
    pki::{Ca, Leaf},
    tls_client::Pki,
};

#[test]
fn a_client_id_has_to_belong_to_its_username() {
    let (broker, connects) = recording();
    let require = "require: [{ client_id: \"${username}-*\" }, { username: \"*a*\" }]";
    let proxy = Config::of([&broker]).listener(require).start();
    for (version, id, username, code) in [
        (4, "anna-1", Some("anna"), 0),
        (5, "anna-", Some("anna"), 0),
        (3, "anna-1", Some("anna"), 0),
        (4, "bert-1", Some("anna"), 2),
        (5, "bert-1", Some("anna"), 0x85),
        (5, "anna", Some("anna"), 0x85),
        // A username is no pattern.
        (5, "anna-1", Some("*"), 0x85),
        (5, "-1", Some(""), 0x85),
        (5, "-1", None, 0x85),
        (4, "bob-1", Some("bob"), 5),
        (5, "bob-1", Some("bob"), 0x87),
    ] {
        let sent = Connect { username, ..Connect::new(version, id) }.bytes();
        let mut client = Client::exchange(proxy.address(), &sent, &connack(version, code));
        match code {
            0 => assert_eq!(connects.recv().unwrap(), sent),
            _ => client.expect_end(),
        }
    }
    let refused = rejects(&proxy, 8);
    let details: Vec<_> = refused.iter().map(|line| line["detail"].as_str().unwrap()).collect();
    assert_eq!(
        details[0],
        "client_id \"bert-1\" does not match \"${username}-*\" (${username} is \"anna\"), which \
         line 2 of the configuration requires"
    );
    assert!(details[5].contains("(${username} has no value)"), "{}", details[5]);
    assert_eq!(
        details[6],
        "username \"bob\" does not match \"*a*\", which line 2 of the configuration requires"
    );
    assert!(refused.iter().all(|line| end(line) == "proxy/connect/refused"));
    assert_eq!(broker.connections(), 3);
    for (rule, count) in [("require[0]", 6.0), ("require[1]", 2.0)] {
        let labels = ["listener=\"mqtt\"", &format!("rule=\"{rule}\"")];
        proxy.wait_metric("mqtt_lb_identity_refused_total", &labels, count);
    }
}

/// The common name of a certificate is compared as it is, whatever characters it has.
#[test]
fn a_client_id_has_to_be_that_of_its_certificate() {
    let pki = Pki::new();
    let of_clients = Ca::new("CA of clients");
    pki.write("clients.pem", &of_clients.pem());
    let client_ca = pki.file("client_ca", "clients.pem");
    let (broker, _connects) = recording();
    let config = Config::of([&broker])
        .listener(&pki.tls(&format!(", client_auth: optional{client_ca}")))
        .listener("require: [{ client_id: \"${tls_cn}\" }]");
    let proxy = config.start();
    for (cn, id, code) in [
        (Some("device-7"), "device-7", 0),
        (Some("device-7"), "device-8", 2),
        (Some("device-*"), "device-7", 2),
        (Some("device-*"), "device-*", 0),
        (Some("a\"b"), "a\"b", 0),
        (Some("a\nb"), "ab", 2),
        (None, "device-7", 2),
        (None, "", 2),
    ] {
        let trust = match cn {
            Some(cn) => pki.client().with(&of_clients.issue(&Leaf::new(cn, &[]))),
            None => pki.client(),
        };
        let mut client = trust.open(proxy.address());
        client.send(&connect(4, id));
        client.expect(&connack(4, code));
    }
    proxy.wait_metric("mqtt_lb_identity_refused_total", &[], 5.0);
}

/// A template that never has a value at a listener is pointed out.
#[test]
fn requirements_that_nobody_meets() {
    for (require, warning) in [
        ("{ client_id: \"${tls_cn}\" }", "require[0] of listener mqtt needs a certificate"),
        ("{ client_id: \"${sni}-*\" }", "require[0] of listener mqtt needs a server name"),
        ("{ username: \"${jwt.sub}\" }", "require[0] of listener mqtt needs a token"),
        ("{ client_id: \"${tls_san_uri}\" }", "require[0] of listener mqtt needs a certificate"),
    ] {
        let config = Config::at(["127.0.0.1:1"]).listener(&format!("require: [{require}]"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, config.text()).unwrap();
        let said = run(&["check", "-c", file.to_str().unwrap()], "");
        assert!(said.status.success());
        let said =
            String::from_utf8(said.stderr).unwrap() + &String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(warning), "{require}: {said}");
    }
}
