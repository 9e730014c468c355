//! Lists, JWK sets and CRLs that change, and what does not change with them.

use std::fs;

use super::{config, count, issue, start, wait_in_use, wait_refused, wait_some_polls, write};
use crate::{
    broker::Broker,
    certificates::Device,
    client::{Client, Connect, connack},
    config::Config,
    harness::{Proxy, program},
    pki::{Ca, Leaf},
};

fn with_list(broker: &Broker, more: &str) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("stolen.txt", "a\n")]);
    let rule =
        "rules: [{ name: stolen, when: { client_id: { file: stolen.txt } }, refuse: banned }]";
    let text = Config::of([broker]).listener(rule).more("watch_interval: 100ms").more(more).text();
    Proxy::start_in(folder, &text, |_| program())
}

#[track_caller]
fn answer(proxy: &Proxy, id: &str, code: u8) {
    drop(Client::exchange(proxy.address(), &Connect::new(4, id).bytes(), &connack(4, code)));
}

#[test]
fn a_list_that_is_written_in_place() {
    let broker = Broker::echoing();
    let proxy = with_list(&broker, "");
    answer(&proxy, "a", 5);
    answer(&proxy, "b", 0);
    fs::write(proxy.path("stolen.txt"), "b\n").unwrap();
    wait_in_use(&proxy, 1);
    assert_eq!(count(&proxy, "listener mqtt: rules changed"), 1);
    answer(&proxy, "a", 0);
    answer(&proxy, "b", 5);
    // A list that is wrong changes nothing, and says so once.
    fs::write(proxy.path("stolen.txt"), b"\xFF\n").unwrap();
    wait_refused(&proxy, 1);
    proxy.wait_stderr("line 1: is not UTF-8");
    answer(&proxy, "b", 5);
    wait_some_polls();
    assert_eq!(count(&proxy, super::REFUSED), 1);
    fs::remove_file(proxy.path("stolen.txt")).unwrap();
    wait_refused(&proxy, 2);
    fs::write(proxy.path("stolen.txt"), "").unwrap();
    wait_in_use(&proxy, 2);
    answer(&proxy, "b", 0);
}

/// What a program appends to all the time is read now and then.
#[test]
fn a_list_that_never_rests() {
    let broker = Broker::echoing();
    let proxy = with_list(&broker, "");
    let mut list = String::from("a\n");
    for n in 0..400 {
        if count(&proxy, super::IN_USE) > 0 {
            break;
        }
        list.extend(["n", &n.to_string(), "\n"]);
        fs::write(proxy.path("stolen.txt"), &list).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(count(&proxy, super::IN_USE) > 0);
    answer(&proxy, "n0", 5);
}

#[test]
fn nothing_is_read_with_watch_off() {
    let broker = Broker::echoing();
    let proxy = with_list(&broker, "watch: false");
    fs::write(proxy.path("stolen.txt"), "b\n").unwrap();
    wait_some_polls();
    answer(&proxy, "a", 5);
    assert!(proxy.get("/api/v1/status").contains("\"watched_files\":0"));
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_stderr("reloaded; sessions are kept");
    answer(&proxy, "b", 5);
    assert_eq!(count(&proxy, super::IN_USE), 0);
    // A reload turns it on.
    let text = fs::read_to_string(proxy.config_file()).unwrap();
    fs::write(proxy.config_file(), text.replace("watch: false", "watch: true")).unwrap();
    // The configuration itself is not read when it changes.
    wait_some_polls();
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_metric("mqtt_lb_config_reloads_total", &["outcome=\"applied\""], 2.0);
    fs::write(proxy.path("stolen.txt"), "c\n").unwrap();
    wait_in_use(&proxy, 1);
    answer(&proxy, "c", 5);
}

/// Session tickets are worth a handshake each: they outlive the change of a list, and end with a
/// change of the certificates, CAs or CRLs.
#[test]
fn tickets_outlive_a_changed_list_and_not_a_changed_crl() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let server = issue(&ca, "server");
    let client = ca.issue(&Leaf { serial: 7, ..Leaf::new("device", &["device"]) });
    let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }], client_auth: required, \
                client_ca: ca.pem, client_crl: crl.pem }, deny: { file: deny.txt }";
    let files = [
        ("cert.pem", &*server.cert),
        ("key.pem", &server.key),
        ("ca.pem", &ca.pem()),
        ("crl.pem", &ca.crl(&[], 4000)),
        ("deny.txt", ""),
    ];
    let proxy = start(&files, &config(&broker, tls, ""));
    let (address, device) = (proxy.address_of("mqtts"), Device::new(Some(&client)));
    device.session(address, "first").unwrap();
    assert!(device.session(address, "second").unwrap().is_resumed());
    write(proxy.dir.path(), &[("deny.txt", "192.0.2.0/24\n")]);
    wait_in_use(&proxy, 1);
    assert_eq!(count(&proxy, "listener mqtts: allow or deny changed"), 1);
    assert_eq!(count(&proxy, "certificates, keys, CAs and CRLs: reloaded"), 0);
    assert!(device.session(address, "third").unwrap().is_resumed());
    write(proxy.dir.path(), &[("crl.pem", &ca.crl(&[7], 4000))]);
    wait_in_use(&proxy, 2);
    assert!(device.session(address, "fourth").is_err());
}
