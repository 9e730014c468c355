//! A thousand certificates under load.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{certificates::mount, config, count, issue};
use crate::{
    broker::Broker,
    certificates::Device,
    harness::{Proxy, SetAtEnd, heavy, program, wait_for},
    pki::Ca,
};

const SWAPS: usize = 1000;

/// No handshake fails, each gets one of the two certificates, and nothing grows.
#[test]
fn a_thousand_swaps_under_load() {
    let _alone = heavy();
    let (ca, broker) = (Ca::new("ca"), Broker::echoing());
    let issued = ["first", "second"].map(|name| issue(&ca, name));
    let folder = tempfile::tempdir().unwrap();
    for (n, issued) in issued.iter().enumerate() {
        mount(folder.path(), &format!("..{n}"), issued);
    }
    let tls = "{ certificates: [{ cert: cert.pem, key: key.pem }] }";
    let proxy = Proxy::start_in(folder, &config(&broker, tls, ""), |_| program());
    let mut session = Device::new(None).session(proxy.address_of("mqtts"), "lives").unwrap();
    let (stop, handshakes) = (AtomicBool::new(false), AtomicU64::new(0));
    let swap = |n: usize| {
        mount(proxy.dir.path(), &format!("..{}", n % 2), &issued[n % 2]);
        thread::sleep(Duration::from_millis(10));
    };
    thread::scope(|scope| {
        let _at_end = SetAtEnd(&stop);
        for thread in 0..3 {
            let (stop, handshakes, proxy, issued) = (&stop, &handshakes, &proxy, &issued);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("device-{thread}");
                    let device = Device::new(None);
                    let there = device.session(proxy.address_of("mqtts"), &id).unwrap();
                    assert!(issued.iter().any(|issued| there.certificate() == issued.der));
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        (0..SWAPS / 5).for_each(swap);
        let (memory, descriptors) = (proxy.memory(), proxy.descriptors());
        (SWAPS / 5..SWAPS).for_each(swap);
        let grown = proxy.memory().saturating_sub(memory);
        assert!(grown < 4 << 20, "{grown} bytes more");
        assert!(proxy.descriptors() <= descriptors + 20, "{descriptors} descriptors before");
    });
    assert!(handshakes.load(Ordering::Relaxed) > 100);
    let reads = count(&proxy, super::IN_USE);
    assert!(reads >= 5, "read {reads} times");
    assert_eq!(count(&proxy, super::REFUSED), 0);
    wait_for("the last certificate", || {
        let device = Device::new(None).session(proxy.address_of("mqtts"), "last").unwrap();
        (device.certificate() == issued[(SWAPS - 1) % 2].der).then_some(())
    });
    session.echo(b"\xC0\x00");
}
