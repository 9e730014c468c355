//! Files that the configuration names and that change while the proxy runs, without a signal.

mod certificates;
mod half_done;
mod lists;
mod load;
mod reloads;

use std::{fs, path::Path};

use crate::{
    broker::Broker,
    harness::{Proxy, program, wait_for},
    pki::{Ca, Issued, Leaf},
};

const IN_USE: &str = "changed files are in use";
const REFUSED: &str = "changed files are refused";

/// Files in a folder.
fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, contents) in files {
        fs::write(folder.join(name), contents).unwrap();
    }
}

/// A listener with TLS, whose files are polled every 100 ms.
fn config(broker: &Broker, tls: &str, more: &str) -> String {
    format!(
        "runtime: {{ workers: 1 }}\n\
         listeners: [{{ name: mqtts, bind: \"127.0.0.1:0\", pool: brokers, tls: {tls} }}]\n\
         pools: [{{ name: brokers, upstreams: [{{ name: b1, address: \"{}\" }}] }}]\n\
         access_log: [{{ path: access.log }}]\nadmin: {{ bind: \"127.0.0.1:0\" }}\n\
         watch_interval: 100ms\n{more}",
        broker.address
    )
}

fn start(files: &[(&str, &str)], config: &str) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    Proxy::start_in(folder, config, |_| program())
}

fn issue(ca: &Ca, name: &'static str) -> Issued {
    ca.issue(&Leaf::new(name, &["eu.example.com"]))
}

/// How many lines of the program's log have this in them.
fn count(proxy: &Proxy, part: &str) -> usize {
    proxy.stderr().iter().filter(|line| line.contains(part)).count()
}

/// Waits until so many changes were taken up.
#[track_caller]
fn wait_in_use(proxy: &Proxy, times: usize) {
    wait_for(IN_USE, || (count(proxy, IN_USE) == times).then_some(()));
    proxy.wait_metric("mqtt_lb_file_reloads_total", &["outcome=\"applied\""], times as f64);
    proxy.wait_metric("mqtt_lb_file_last_reload_successful", &[], 1.0);
}

/// Waits until so many changes were refused.
#[track_caller]
fn wait_refused(proxy: &Proxy, times: usize) {
    wait_for(REFUSED, || (count(proxy, REFUSED) == times).then_some(()));
    proxy.wait_metric("mqtt_lb_file_reloads_total", &["outcome=\"refused\""], times as f64);
    proxy.wait_metric("mqtt_lb_file_last_reload_successful", &[], 0.0);
}

/// Waits until the files were polled a few times since now: the metadata of a file that is watched
/// is read more often than that of one that is not.
fn wait_some_polls() {
    // Nothing that can be seen happens when nothing changes, so time has to pass.
    std::thread::sleep(std::time::Duration::from_millis(700));
}
