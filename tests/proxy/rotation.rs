//! Log files that the proxy puts aside by itself.

use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt, path::PathBuf, thread};

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::Client,
    config::Config,
    harness::{Proxy, is_end, json_lines, wait_for},
};

/// The files of a log, the newest first.
fn files(proxy: &Proxy) -> Vec<PathBuf> {
    let old = (1..).map(|number| proxy.path(&format!("access.log.{number}")));
    let old = old.take_while(|file| file.exists());
    [proxy.path("access.log")].into_iter().chain(old).collect()
}

/// Under load from two workers, with signals in between that have nothing to do with it.
#[test]
fn files_are_whole_small_and_none_is_lost() {
    const CLIENTS: usize = 600;
    const SIZE: u64 = 64 * 1024;
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]).workers(2);
    config.access_log = "{ path: access.log, rotate: { size: 64KiB, keep: 100 } }".to_owned();
    let proxy = config.start();
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for n in 0..CLIENTS {
                Client::session(proxy.address(), &format!("c{n}"));
            }
        });
        while !churn.is_finished() {
            proxy.signal(Signal::USR1);
            thread::yield_now();
        }
    });
    let lines = || files(&proxy).iter().flat_map(|file| json_lines(file)).collect::<Vec<_>>();
    wait_for("every line", || (lines().len() >= 2 * CLIENTS).then_some(()));
    let lines = lines();
    assert_eq!(lines.len(), 2 * CLIENTS);
    let ended: HashSet<_> =
        lines.iter().filter(|line| is_end(line)).map(|line| line["client_id"].as_str()).collect();
    assert_eq!(ended.len(), CLIENTS);
    let files = files(&proxy);
    // Lines have 400 bytes at least.
    assert!(files.len() > 2 * CLIENTS * 400 / SIZE as usize, "{}", files.len());
    for (number, file) in files.iter().enumerate() {
        let metadata = fs::metadata(file).unwrap();
        assert!(metadata.len() <= SIZE, "{} has {} bytes", file.display(), metadata.len());
        // None was put aside before it was full: a line has 600 bytes at most.
        assert!(
            number == 0 || metadata.len() > SIZE - 600,
            "{} {}",
            file.display(),
            metadata.len()
        );
        assert_eq!(metadata.permissions().mode() & 0o777 & !0o640, 0);
        assert!(fs::read(file).unwrap().ends_with(b"\n"));
    }
}

#[test]
fn old_files_are_put_aside_and_few_are_kept() {
    let broker = Broker::echoing();
    let mut config = Config::of([&broker]);
    config.access_log = "{ path: access.log, rotate: { age: 1s, keep: 2 } }".to_owned();
    let proxy = config.start();
    let mut sessions = 0;
    wait_for("three files", || {
        Client::session(proxy.address(), &format!("c{sessions}"));
        sessions += 1;
        (files(&proxy).len() == 3).then_some(())
    });
    // One more rotation, and the oldest is gone.
    let first = fs::read(proxy.path("access.log.2")).unwrap();
    wait_for("the oldest to be removed", || {
        Client::session(proxy.address(), "more");
        (fs::read(proxy.path("access.log.2")).unwrap() != first).then_some(())
    });
    // While files are renamed, fewer are there.
    wait_for("three files again", || (files(&proxy).len() == 3).then_some(()));
}
