//! Certificates and keys that are replaced in each of the ways that are in use.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{config, issue, start, wait_in_use, write};
use crate::{
    broker::Broker,
    certificates::Device,
    harness::Proxy,
    pki::{Ca, Issued},
};

/// As Kubernetes mounts a secret: each version has a folder, `..data` is a link to the current one,
/// and the files are links through it.
pub(super) fn mount(volume: &Path, version: &str, issued: &Issued) {
    let folder = volume.join(version);
    fs::create_dir_all(&folder).unwrap();
    write(&folder, &[("cert.pem", &issued.cert), ("key.pem", &issued.key)]);
    let next = volume.join("..data_tmp");
    symlink(version, &next).unwrap();
    fs::rename(&next, volume.join("..data")).unwrap();
    for name in ["cert.pem", "key.pem"] {
        let _ = symlink(Path::new("..data").join(name), volume.join(name));
    }
}

#[track_caller]
fn presents(proxy: &Proxy, issued: &Issued) {
    let device = Device::new(None);
    let session = device.session(proxy.address_of("mqtts"), "device").unwrap();
    assert!(session.certificate() == issued.der);
}

#[test]
fn a_secret_of_kubernetes_is_replaced() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second, third] = ["first", "second", "third"].map(|name| issue(&ca, name));
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "..2026_01", &first);
    let text = config(&broker, "{ certificates: [{ cert: cert.pem, key: key.pem }] }", "");
    let proxy = Proxy::start_in(folder, &text, |_| crate::harness::program());
    presents(&proxy, &first);
    let mut session = Device::new(None).session(proxy.address_of("mqtts"), "lives").unwrap();
    mount(proxy.dir.path(), "..2026_02", &second);
    fs::remove_dir_all(proxy.path("..2026_01")).unwrap();
    wait_in_use(&proxy, 1);
    presents(&proxy, &second);
    mount(proxy.dir.path(), "..2026_03", &third);
    wait_in_use(&proxy, 2);
    presents(&proxy, &third);
    session.echo(b"\xC0\x00");
    let line = proxy.stderr().into_iter().find(|line| line.contains(super::IN_USE)).unwrap();
    assert!(line.contains("cert.pem") && line.contains("key.pem"), "{line}");
    assert!(line.contains("generation=2"), "{line}");
}

#[test]
fn files_are_moved_into_place() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second] = ["first", "second"].map(|name| issue(&ca, name));
    let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }] }";
    let proxy =
        start(&[("cert.pem", &first.cert), ("key.pem", &first.key)], &config(&broker, tls, ""));
    write(proxy.dir.path(), &[("new.cert", &second.cert), ("new.key", &second.key)]);
    fs::rename(proxy.path("new.cert"), proxy.path("cert.pem")).unwrap();
    fs::rename(proxy.path("new.key"), proxy.path("key.pem")).unwrap();
    wait_in_use(&proxy, 1);
    presents(&proxy, &second);
}
