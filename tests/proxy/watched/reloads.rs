//! Changed files and reloads of the configuration at the same time.

use std::fs;

use rustix::process::Signal;

use super::{
    IN_USE, certificates::mount, config, count, issue, start, wait_in_use, wait_refused, write,
};
use crate::{
    broker::Broker,
    certificates::Device,
    harness::{Proxy, wait_for},
    pki::{Ca, Issued},
};

const TLS: &str = "{ certificates: [{ cert: cert.pem, key: key.pem }] }";
const RELOADED: &str = "reloaded; sessions are kept";

#[track_caller]
fn presents(proxy: &Proxy, issued: &Issued) {
    let session = Device::new(None).session(proxy.address_of("mqtts"), "device").unwrap();
    assert!(session.certificate() == issued.der);
}

/// What a reload has read is not read again, and what was refused is forgotten.
#[test]
fn a_reload_reads_changed_files_first() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second] = ["first", "second"].map(|name| issue(&ca, name));
    let files = [("cert.pem", &*first.cert), ("key.pem", &*first.key)];
    let proxy = start(&files, &config(&broker, TLS, ""));
    write(proxy.dir.path(), &[("cert.pem", &second.cert)]);
    wait_refused(&proxy, 1);
    // A reload refuses it as well, and changes nothing about that.
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("not reloaded: the configuration is unchanged");
    write(proxy.dir.path(), &[("key.pem", &second.key)]);
    proxy.signal(Signal::HUP);
    proxy.wait_stderr(RELOADED);
    presents(&proxy, &second);
    proxy.wait_metric("mqtt_lb_file_last_reload_successful", &[], 1.0);
    assert!(!proxy.get("/api/v1/status").contains("last_file_reload"));
    super::wait_some_polls();
    assert_eq!(count(&proxy, IN_USE), 0);
}

/// The configuration on disk has a fault, or asks for another certificate: neither is looked at.
#[test]
fn the_configuration_in_force_is_what_counts() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second] = ["first", "second"].map(|name| issue(&ca, name));
    let files = [("cert.pem", &*first.cert), ("key.pem", &*first.key)];
    let proxy = start(&files, &config(&broker, TLS, ""));
    fs::write(proxy.config_file(), "colour: blue").unwrap();
    write(proxy.dir.path(), &[("cert.pem", &second.cert), ("key.pem", &second.key)]);
    wait_in_use(&proxy, 1);
    presents(&proxy, &second);
}

/// A link is swapped to what is wrong and back to what is in use.
#[test]
fn a_link_is_swapped_back() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let first = issue(&ca, "first");
    let wrong = Issued { cert: "no certificate".to_owned(), ..issue(&ca, "wrong") };
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "..1", &first);
    let proxy = Proxy::start_in(folder, &config(&broker, TLS, ""), |_| crate::harness::program());
    mount(proxy.dir.path(), "..2", &wrong);
    wait_refused(&proxy, 1);
    let next = proxy.path("..data_tmp");
    std::os::unix::fs::symlink("..1", &next).unwrap();
    fs::rename(&next, proxy.path("..data")).unwrap();
    proxy.wait_stderr("refused files are again as they were");
    proxy.wait_metric("mqtt_lb_file_last_reload_successful", &[], 1.0);
    presents(&proxy, &first);
    assert_eq!(count(&proxy, IN_USE), 0);
}

/// Both at once, again and again; the last state wins, whichever of them has read it.
#[test]
fn reloads_and_changes_race() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let issued = ["first", "second"].map(|name| issue(&ca, name));
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "..0", &issued[0]);
    let proxy = Proxy::start_in(folder, &config(&broker, TLS, ""), |_| crate::harness::program());
    let mut session = Device::new(None).session(proxy.address_of("mqtts"), "lives").unwrap();
    for n in 1..40 {
        mount(proxy.dir.path(), &format!("..{n}"), &issued[n % 2]);
        // At every phase of the poll.
        std::thread::sleep(std::time::Duration::from_millis(n as u64 * 37 % 230));
        let before = count(&proxy, RELOADED);
        proxy.signal(Signal::HUP);
        wait_for(RELOADED, || (count(&proxy, RELOADED) > before).then_some(()));
        presents(&proxy, &issued[n % 2]);
    }
    assert_eq!(count(&proxy, super::REFUSED), 0, "{:#?}", proxy.stderr());
    session.echo(b"\xC0\x00");
}
