//! Access logs on a disk without room, until there is some.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use crate::{
    broker::Broker,
    client::{CONNACK_V3, Client, connect},
    config::Config,
    harness::{Proxy, heavy, is_end, json_lines, wait_for},
};

const CLIENTS: usize = 1500;

/// A proxy that logs to a disk of its own, which a file fills nearly.
struct OnDisk {
    proxy: Proxy,
    disk: PathBuf,
}

impl OnDisk {
    fn start(broker: &Broker, keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        let mut config = Config::of([broker]);
        config.access_log = format!("{{ path: disk/access.log{keys} }}");
        // 32 MiB, and 256 KiB of them free. The namespace ends with the proxy.
        let script = "cd \"$0\" && mount -t tmpfs -o size=32m none disk \
                      && head -c 33292288 /dev/zero > disk/filler && exec \"$@\"";
        let folder = dir.path().to_owned();
        let proxy = Proxy::start_in(dir, &config.text(), |program| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--map-root-user", "sh", "-c", script]);
            command.arg(&folder).arg(program).env_remove("RUST_LOG");
            command
        });
        // The mount is in the proxy's eyes only.
        let disk = PathBuf::from(format!("{}{}", proxy.proc("root"), folder.display()));
        Self { proxy, disk: disk.join("disk") }
    }

    fn log(&self) -> PathBuf {
        self.disk.join("access.log")
    }

    fn make_room(&self) {
        fs::remove_file(self.disk.join("filler")).unwrap();
    }

    fn run_clients(&self, done: &AtomicUsize) {
        let name = "n".repeat(2000);
        thread::scope(|scope| {
            for t in 0..4 {
                let name = &name;
                scope.spawn(move || {
                    for n in 0..CLIENTS / 4 {
                        let mut client = Client::open(self.proxy.address());
                        client.send(&connect(4, &format!("{t}-{n}-{name}")));
                        client.expect(CONNACK_V3);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }

    fn told(&self, part: &str) -> usize {
        self.proxy.stderr().iter().filter(|line| line.contains(part)).count()
    }

    fn dropped(&self) -> usize {
        self.proxy.metric("mqtt_lb_access_log_dropped_total", &[]) as usize
    }
}

#[test]
fn block_holds_sessions_back_until_there_is_room() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let on_disk = OnDisk::start(&broker, "");
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients = scope.spawn(|| on_disk.run_clients(&done));
        on_disk.proxy.wait_stderr("access log cannot be written: new sessions wait");
        let mut last = (usize::MAX, Instant::now());
        wait_for("the disk to hold clients back", || {
            let now = done.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed().as_millis() > 1000).then_some(())
        });
        assert!(last.0 < CLIENTS, "all {CLIENTS} got in");
        on_disk.proxy.wait_metric("mqtt_lb_access_log_blocked", &["/disk/access.log\""], 1.0);
        assert!(on_disk.proxy.get("/readyz").starts_with("HTTP/1.1 503 "));
        on_disk.make_room();
        clients.join().unwrap();
    });
    let lines = wait_for("every line", || {
        let lines = json_lines(&on_disk.log());
        (lines.len() >= 2 * CLIENTS).then_some(lines)
    });
    assert_eq!(lines.len(), 2 * CLIENTS);
    let mut ended: Vec<_> =
        lines.iter().filter(|line| is_end(line)).map(|line| &line["client_id"]).collect();
    ended.sort_unstable_by_key(|id| id.as_str());
    ended.dedup();
    assert_eq!(ended.len(), CLIENTS);
    assert_eq!(on_disk.dropped(), 0);
    assert_eq!(on_disk.told("access log cannot be written"), 1);
    on_disk.proxy.wait_stderr("access log can be written again");
    assert_eq!(on_disk.told("access log can be written again"), 1);
    assert!(on_disk.proxy.get("/readyz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn drop_counts_what_there_is_no_room_for() {
    let _alone = heavy();
    let broker = Broker::echoing();
    let on_disk = OnDisk::start(&broker, ", when_full: drop");
    on_disk.run_clients(&AtomicUsize::new(0));
    // Nobody was held back; what had no room is counted once all is handed over.
    on_disk.proxy.wait_metric("mqtt_lb_connections_active", &[], 0.0);
    let lines = || json_lines(&on_disk.log());
    let accounted = |sessions: usize| {
        wait_for("every line to be written or counted", || {
            (lines().len() + on_disk.dropped() >= 2 * sessions).then_some(())
        });
    };
    // The one line that was begun is still to be ended, and neither there nor lost.
    wait_for("lines to be counted", || {
        (lines().len() + on_disk.dropped() + 1 >= 2 * CLIENTS).then_some(())
    });
    assert!(on_disk.dropped() > 0);
    on_disk.make_room();
    let dropped = on_disk.dropped();
    Client::session(on_disk.proxy.address(), "at last");
    accounted(CLIENTS + 1);
    assert_eq!(on_disk.dropped(), dropped);
    let lines = lines();
    assert_eq!(lines.len() + dropped, 2 * (CLIENTS + 1));
    assert_eq!(lines.last().unwrap()["client_id"], "at last");
    assert_eq!(on_disk.told("access log cannot be written: its lines are dropped"), 1);
    assert_eq!(on_disk.told("access log can be written again"), 1);
}
