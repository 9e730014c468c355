//! Files that hang: opening a pipe without a writer blocks indefinitely, as does opening a file on a
//! disk that has gone.

use std::{fs, fs::File, os::unix::fs::OpenOptionsExt, path::Path};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    process::Signal,
};

use super::reload;
use crate::{client::Client, config::Config, harness::wait_for, routing::brokers};

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_reload_that_hangs_is_given_up_with_a_reason() {
    let [broker] = brokers();
    let config = Config::of([&broker]);
    let proxy = config.start();
    let mut there = Client::session(proxy.address(), "there");
    let file = proxy.path("config.yaml");
    fs::remove_file(&file).unwrap();
    make_fifo(&file);
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("config.yaml and the files that it names took longer than 10s");
    proxy.wait_stderr("not reloaded: the configuration is unchanged");
    there.echo(b"\xC0\x00");
    // The control thread goes on.
    proxy.signal(Signal::USR1);
    proxy.wait_stderr("SIGUSR1");
    // A writer at the other end lets it go on; the next reload is like any other.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let open = || File::options().write(true).custom_flags(flags).open(&file);
    drop(wait_for("the reader", || open().ok()));
    fs::remove_file(&file).unwrap();
    let more = config.more("limits: { connect_packet: 3KiB }").text();
    let said = reload(&proxy, &more);
    super::says(&said, "limits: changed");
    there.echo(b"\xC0\x00");
}

#[test]
fn the_end_comes_while_a_reload_hangs() {
    let [broker] = brokers();
    let mut proxy = Config::of([&broker]).more("drain: { timeout: 200ms }").start();
    let mut there = Client::session(proxy.address(), "there");
    let file = proxy.path("config.yaml");
    fs::remove_file(&file).unwrap();
    make_fifo(&file);
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("SIGHUP: reloading");
    there.echo(b"\xC0\x00");
    proxy.signal(Signal::TERM);
    proxy.wait_stderr("stopped accepting");
    assert_eq!(proxy.wait_exit().code(), Some(0));
}
