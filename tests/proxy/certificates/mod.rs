//! Certificates while the proxy runs: renewed, revoked, expired, and what is said of them.

mod device;
mod facts;

use std::{fs, path::Path, time::SystemTime};

use rustix::process::Signal;
use rustls::{
    AlertDescription,
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::pki::{Ca, Issued, Leaf, years};
use crate::{
    broker::Broker,
    harness::{Proxy, end, program, rejects, run, wait_for},
};
pub(crate) use device::Device;

const EXPIRY: &str = "mqtt_lb_certificate_expiry_timestamp_seconds";
/// 1 January 4000 and 3000, in Unix time.
const Y4000: f64 = 64_060_588_800.0;
const Y3000: f64 = 32_503_680_000.0;

/// Files in the proxy's folder.
fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, contents) in files {
        fs::write(folder.join(name), contents).unwrap();
    }
}

/// A listener with TLS before these brokers.
fn config(brokers: &[&Broker], tls: &str, pool: &str) -> String {
    let upstreams: Vec<_> = brokers
        .iter()
        .enumerate()
        .map(|(n, broker)| format!("{{ name: b{}, address: \"{}\" }}", n + 1, broker.address))
        .collect();
    format!(
        "runtime: {{ workers: 1 }}\n\
         listeners: [{{ name: mqtts, bind: \"127.0.0.1:0\", pool: brokers, tls: {tls} }}]\n\
         pools: [{{ name: brokers, {pool} upstreams: [{}] }}]\n\
         access_log: [{{ path: access.log }}]\nadmin: {{ bind: \"127.0.0.1:0\" }}\n",
        upstreams.join(", ")
    )
}

fn start(files: &[(&str, &str)], config: &str) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    Proxy::start_in(folder, config, |_| program())
}

/// Has the files read again, and waits for so many of what is said at the end of that.
#[track_caller]
fn reload(proxy: &Proxy, said: &str, times: usize) {
    proxy.signal(Signal::HUP);
    let count = || proxy.stderr().iter().filter(|line| line.contains(said)).count();
    wait_for(said, || (count() == times).then_some(()));
}

const CERTIFICATE: &str = "certificates: [{ cert: cert.pem, key: key.pem }]";
const RENEWED: &str = "certificates, keys, CAs and CRLs: reloaded";
const KEPT: &str = "not reloaded: the configuration is unchanged";

#[test]
fn a_certificate_is_renewed_and_a_bad_one_is_not_taken() {
    let ca = Ca::new("ca");
    let [old, new, unfit] = [4000, 3000, 2900].map(|end| {
        ca.issue(&Leaf { valid: years(2000, end), ..Leaf::new("a", &["eu.example.com"]) })
    });
    let broker = Broker::echoing();
    let files = [("cert.pem", &*old.cert), ("key.pem", &old.key)];
    let proxy = start(&files, &config(&[&broker], &format!("{{ {CERTIFICATE} }}"), ""));
    let labels = ["kind=\"listener\"", "name=\"mqtts\"", "cert.pem\""];
    let address = proxy.address_of("mqtts");
    let device = Device::new(None);
    let mut first = device.session(address, "first").unwrap();
    assert!(first.certificate() == old.der && !first.is_resumed());
    assert!(device.session(address, "again").unwrap().is_resumed());
    proxy.wait_metric(EXPIRY, &labels, Y4000);

    write(proxy.dir.path(), &[("cert.pem", &new.cert), ("key.pem", &new.key)]);
    reload(&proxy, RENEWED, 1);
    let second = device.session(address, "second").unwrap();
    assert!(second.certificate() == new.der && !second.is_resumed());
    proxy.wait_metric(EXPIRY, &labels, Y3000);

    // Half a renewal, as a script does it that is not done.
    write(proxy.dir.path(), &[("cert.pem", &unfit.cert)]);
    reload(&proxy, KEPT, 1);
    proxy.wait_stderr("config.yaml:2:");
    proxy.wait_stderr("listeners[0].tls.certificates[0].key: is not the key of cert");
    assert!(device.session(address, "third").unwrap().certificate() == new.der);
    proxy.wait_metric(EXPIRY, &labels, Y3000);
    // A fault anywhere keeps all as it is.
    fs::write(proxy.config_file(), "colour: blue").unwrap();
    reload(&proxy, KEPT, 2);
    proxy.wait_stderr("colour: is an unknown key");
    assert!(device.session(address, "fourth").unwrap().certificate() == new.der);
    first.echo(b"\xC0\x00");
}

fn fleet(ca: &Ca) -> (Issued, String) {
    (ca.issue(&Leaf::new("a", &["eu.example.com"])), ca.pem())
}

#[test]
fn who_is_revoked_is_refused_from_the_next_reload_on() {
    let ca = Ca::new("ca");
    let (server, authority) = fleet(&ca);
    let files = [
        ("cert.pem", &*server.cert),
        ("key.pem", &server.key),
        ("ca.pem", &authority),
        ("clients.crl", &ca.crl(&[], 2025)),
    ];
    let tls = format!(
        "{{ {CERTIFICATE}, client_auth: required, client_ca: ca.pem, client_crl: clients.crl }}"
    );
    let broker = Broker::echoing();
    let proxy = start(&files, &config(&[&broker], &tls, ""));
    let late = "the next CRL was due on 2025-01-01";
    proxy.wait_stderr(late);
    let address = proxy.address_of("mqtts");
    let [lost, kept] = [13, 14].map(|serial| {
        Device::new(Some(&ca.issue(&Leaf { serial, ..Leaf::new("device \"x\"", &[]) })))
    });
    let mut session = lost.session(address, "lost-1").unwrap();
    kept.session(address, "kept-1").unwrap();
    let log = proxy.wait_connected("lost-1");
    assert_eq!(log["transport"], "tls");
    assert_eq!(log["tls_version"], "TLSv1.3");
    assert_eq!(log["tls_cipher"], "TLS_AES_128_GCM_SHA256");
    assert_eq!(log["sni"], "eu.example.com");
    assert_eq!(log["tls_cn"], "device \"x\"");

    write(proxy.dir.path(), &[("clients.crl", &ca.crl(&[13], 4000))]);
    reload(&proxy, RENEWED, 1);
    assert_eq!(proxy.stderr().iter().filter(|line| line.contains(late)).count(), 1);
    // With a ticket from before.
    assert!(lost.session(address, "lost-2").is_err());
    let refused = proxy.wait_log("a refusal", |line| line["event"] == "reject");
    assert_eq!(end(&refused), "proxy/handshake/refused");
    assert_eq!(refused["detail"], "TLS: invalid peer certificate: Revoked");
    assert!(!kept.session(address, "kept-2").unwrap().is_resumed());
    assert!(kept.session(address, "kept-3").unwrap().is_resumed());
    // Sessions that have begun go on.
    session.echo(b"\xC0\x00");
}

#[test]
fn a_ticket_ends_with_the_certificate() {
    let ca = Ca::new("ca");
    let (server, authority) = fleet(&ca);
    let files = [("cert.pem", &*server.cert), ("key.pem", &server.key), ("ca.pem", &authority)];
    let tls = format!("{{ {CERTIFICATE}, client_auth: optional, client_ca: ca.pem }}");
    let broker = Broker::echoing();
    let proxy = start(&files, &config(&[&broker], &tls, ""));
    let address = proxy.address_of("mqtts");
    let (from, _) = years(2000, 4000);
    // Time for two handshakes, on a machine that has other work.
    let ends = OffsetDateTime::now_utc() + std::time::Duration::from_secs(5);
    let brief = Leaf { valid: (from, ends), ..Leaf::new("brief", &[]) };
    let brief = ca.issue(&brief);
    let devices = [&TLS13, &TLS12].map(|it| Device::of_versions(Some(&brief), &[it]));
    for device in &devices {
        device.session(address, "before").unwrap();
        let resumed = device.session(address, "resumed").unwrap();
        assert!(resumed.is_resumed());
    }
    assert_eq!(proxy.wait_connected("resumed")["tls_cn"], "brief");
    let second_after = ends.unix_timestamp() + 1;
    wait_for("the certificate to expire", || {
        (OffsetDateTime::from(SystemTime::now()).unix_timestamp() > second_after).then_some(())
    });
    for (number, device) in devices.iter().enumerate() {
        assert_eq!(device.alert(address), AlertDescription::CertificateExpired);
        let refused = rejects(&proxy, number + 1).pop().unwrap();
        assert_eq!(end(&refused), "proxy/handshake/refused");
        assert_eq!(refused["detail"], "TLS: invalid peer certificate: Expired");
    }
}

#[test]
fn clients_go_by_the_name_in_their_certificate() {
    let ca = Ca::new("ca");
    let (server, authority) = fleet(&ca);
    let files = [("cert.pem", &*server.cert), ("key.pem", &server.key), ("ca.pem", &authority)];
    let tls = format!("{{ {CERTIFICATE}, client_auth: optional, client_ca: ca.pem }}");
    let brokers: [_; 3] = std::array::from_fn(|_| Broker::echoing());
    let brokers: Vec<_> = brokers.iter().collect();
    let key = "balance: { key: \"${sni}/${tls_cn}\", empty_client_id: reject },";
    let proxy = start(&files, &config(&brokers, &tls, key));
    let file = proxy.config_file();
    let mut seen = Vec::new();
    for cn in ["red", "green", "blue", "black", "white", "grey"] {
        let device = Device::new(Some(&ca.issue(&Leaf::new(cn, &[]))));
        let args = ["route", "-c", &file, "--tls-cn", cn, "--sni", "eu.example.com", "any"];
        let said = String::from_utf8(run(&args, "").stdout).unwrap();
        let home = said.strip_prefix("any\t").and_then(|said| said.split(' ').next()).expect(&said);
        // Whatever its ID, and without any.
        for id in [cn, &format!("{cn}-2"), ""] {
            device.session(proxy.address_of("mqtts"), id).unwrap();
            let line = proxy.wait_log(id, |line| line["client_id"] == id && line["tls_cn"] == cn);
            assert_eq!((&line["upstream"], &line["route"]), (&home.into(), &"hash".into()));
        }
        seen.push(home.to_owned());
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 1, "all six on {seen:?}");
}

/// A proxy with TLS stands in for a broker with TLS.
#[test]
fn brokers_are_reached_with_renewed_certificates() {
    let ca = Ca::new("ca");
    let (server, authority) = fleet(&ca);
    let front_files =
        [("cert.pem", &*server.cert), ("key.pem", &server.key), ("ca.pem", &authority)];
    let tls = format!("{{ {CERTIFICATE}, client_auth: required, client_ca: ca.pem }}");
    let broker = Broker::echoing();
    let front = start(&front_files, &config(&[&broker], &tls, ""));

    let [old, new] = [(Ca::new("ca"), "old", 3000), (ca, "new", 4000)]
        .map(|(ca, name, end)| ca.issue(&Leaf { valid: years(2000, end), ..Leaf::new(name, &[]) }));
    let files = [
        ("cert.pem", &*server.cert),
        ("key.pem", &server.key),
        ("ca.pem", &authority),
        ("client.pem", &old.cert),
        ("client.key", &old.key),
    ];
    let pool = "tls: { ca: ca.pem, server_name: eu.example.com, cert: client.pem, key: client.key }, \
                health: { passive: { failures: 0 } },";
    let text = config(&[&broker], &format!("{{ {CERTIFICATE} }}"), pool)
        .replace(&broker.address.to_string(), &front.address_of("mqtts").to_string());
    let proxy = start(&files, &text);
    let address = proxy.address_of("mqtts");
    let labels = ["kind=\"pool\"", "name=\"brokers\"", "client.pem\""];
    proxy.wait_metric(EXPIRY, &labels, Y3000);
    assert!(Device::new(None).session(address, "early").is_err());
    front.wait_log("a refusal", |line| line["event"] == "reject");

    write(proxy.dir.path(), &[("client.pem", &new.cert), ("client.key", &new.key)]);
    reload(&proxy, RENEWED, 1);
    proxy.wait_metric(EXPIRY, &labels, Y4000);
    Device::new(None).session(address, "late").unwrap().echo(b"\xC0\x00");
    assert_eq!(front.wait_connected("late")["tls_cn"], "new");
}

fn ending(days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let (from, _) = years(2000, 4000);
    // A minute more, in which the proxy starts.
    (from, OffsetDateTime::now_utc() + time::Duration::days(days) + time::Duration::minutes(1))
}

#[test]
fn what_should_not_stay_is_warned_about_at_each_start() {
    let ca = Ca::new("ca");
    let folder: TempDir = tempfile::tempdir().unwrap();
    let mut list = Vec::new();
    for (name, valid) in [
        ("fine", ending(15)),
        ("soon", ending(13)),
        ("expired", years(2000, 2020)),
        ("early", years(3000, 4000)),
    ] {
        let issued = ca.issue(&Leaf { valid, ..Leaf::new(name, &["eu.example.com"]) });
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        write(folder.path(), &[(&cert, &issued.cert), (&key, &issued.key)]);
        list.push(format!("{{ cert: {cert}, key: {key} }}"));
    }
    let tls = format!("{{ certificates: [{}] }}", list.join(", "));
    let broker = Broker::echoing();
    let text = config(&[&broker], &tls, "tls: { insecure_skip_verify: true },");
    let proxy = Proxy::start_in(folder, &text, |_| program());
    for said in [
        "the certificate expires in 13 days",
        "the certificate expired on 2020-01-01",
        "the certificate is not valid before 3000-01-01",
        "insecure_skip_verify: anyone on the network path can impersonate a broker",
    ] {
        proxy.wait_stderr(said);
    }
    reload(&proxy, RENEWED, 1);
    wait_for("the warnings to be repeated", || {
        let lines = proxy.stderr();
        let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        (count("insecure_skip_verify") == 2 && count("expires in 13 days") == 2).then_some(())
    });
    assert!(!proxy.stderr().iter().any(|line| line.contains("fine.pem")));
    let expired = -proxy.metric(EXPIRY, &["expired.pem"]) + 1_577_836_800.0;
    assert!(expired.abs() < 0.5);
}
