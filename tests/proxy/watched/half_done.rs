//! Changes that take their time, or are wrong.

use std::{
    fs::{self, File},
    io::Write as _,
};

use serde_json::Value;

use super::{config, count, issue, start, wait_in_use, wait_refused, wait_some_polls, write};
use crate::{
    broker::Broker,
    certificates::Device,
    harness::{Proxy, run},
    pki::{Ca, Issued},
};

const TLS: &str = "{ certificates: [{ cert: cert.pem, key: key.pem }] }";

fn start_with(broker: &Broker, issued: &Issued) -> Proxy {
    let files = [("cert.pem", &*issued.cert), ("key.pem", &*issued.key)];
    start(&files, &config(broker, TLS, ""))
}

#[track_caller]
fn presents(proxy: &Proxy, issued: &Issued) {
    let session = Device::new(None).session(proxy.address_of("mqtts"), "device").unwrap();
    assert!(session.certificate() == issued.der);
}

fn config_status(proxy: &Proxy) -> Value {
    let response = proxy.get("/api/v1/status");
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Value>(body).unwrap()["config"].take()
}

fn last_file_reload(proxy: &Proxy) -> Value {
    config_status(proxy)["last_file_reload"].take()
}

/// The key comes long after its certificate: one warning, and then both are in use.
#[test]
fn half_a_pair_waits_for_its_other_half() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second] = ["first", "second"].map(|name| issue(&ca, name));
    let proxy = start_with(&broker, &first);
    assert_eq!(last_file_reload(&proxy), Value::Null);
    write(proxy.dir.path(), &[("cert.pem", &second.cert)]);
    wait_refused(&proxy, 1);
    proxy.wait_stderr("listeners[0].tls.certificates[0].key: is not the key of cert");
    wait_some_polls();
    assert_eq!(count(&proxy, super::REFUSED), 1);
    presents(&proxy, &first);
    let status = last_file_reload(&proxy);
    assert_eq!(status["outcome"], "refused");
    assert!(status["files"][0].as_str().unwrap().ends_with("cert.pem"), "{status}");
    assert!(status["faults"][0].as_str().unwrap().contains("is not the key of cert"), "{status}");
    let admin = proxy.admin().to_string();
    let shown = String::from_utf8(run(&["ctl", "--admin", &admin, "status"], "").stdout).unwrap();
    assert!(shown.contains("refused, ") && shown.contains("is not the key of cert"), "{shown}");

    write(proxy.dir.path(), &[("key.pem", &second.key)]);
    wait_in_use(&proxy, 1);
    presents(&proxy, &second);
    assert_eq!(last_file_reload(&proxy)["outcome"], "applied");
    assert_eq!(config_status(&proxy)["generation"], 2);
    assert_eq!(config_status(&proxy)["watched_files"], 2);
}

/// A file that is written in place, with a long pause in the middle.
#[test]
fn half_a_file_waits_for_its_other_half() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let first = issue(&ca, "first");
    // The key stays, as with a renewal by `certbot --reuse-key`.
    let proxy = start_with(&broker, &first);
    let cert = first.cert.as_bytes();
    let (start, end) = cert.split_at(cert.len() / 2);
    let mut file = File::create(proxy.path("cert.pem")).unwrap();
    file.write_all(start).unwrap();
    wait_refused(&proxy, 1);
    proxy.wait_stderr("is damaged: a section has no end");
    presents(&proxy, &first);
    file.write_all(end).unwrap();
    wait_in_use(&proxy, 1);
    presents(&proxy, &first);
}

/// Nothing is read while it is written: many small writes with short pauses are one change.
#[test]
fn a_slow_write_is_one_change() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second] = ["first", "second"].map(|name| issue(&ca, name));
    let files = [("cert.pem", &*first.cert), ("key.pem", &first.key)];
    let proxy = start(&files, &config(&broker, TLS, "").replace("100ms", "500ms"));
    for (name, contents) in [("cert.pem", &second.cert), ("key.pem", &second.key)] {
        let mut file = File::create(proxy.path(name)).unwrap();
        for piece in contents.as_bytes().chunks(contents.len() / 3) {
            file.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    wait_in_use(&proxy, 1);
    presents(&proxy, &second);
    assert_eq!(count(&proxy, super::REFUSED), 0, "{:#?}", proxy.stderr());
}

#[test]
fn a_folder_is_removed_and_made_again() {
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let [first, second] = ["first", "second"].map(|name| issue(&ca, name));
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    write(&folder.path().join("tls"), &[("cert.pem", &first.cert), ("key.pem", &first.key)]);
    let text = config(&broker, "{ certificates: [{ cert: tls/cert.pem, key: tls/key.pem }] }", "");
    let proxy = Proxy::start_in(folder, &text, |_| crate::harness::program());
    fs::remove_dir_all(proxy.path("tls")).unwrap();
    wait_refused(&proxy, 1);
    presents(&proxy, &first);
    fs::create_dir(proxy.path("tls")).unwrap();
    write(&proxy.path("tls"), &[("cert.pem", &second.cert), ("key.pem", &second.key)]);
    wait_in_use(&proxy, 1);
    presents(&proxy, &second);
}
