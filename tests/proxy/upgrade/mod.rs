//! Upgrades: another process takes over from the running one.

mod listeners;

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Proxy, wait_for};

/// A process that has taken over; killed when it is dropped.
pub(crate) struct NewProcess(Pid);

impl NewProcess {
    /// Upgrades the proxy by SIGUSR2 at its first process.
    #[track_caller]
    pub(crate) fn of(proxy: &Proxy) -> Self {
        let known = Self::count(proxy);
        proxy.signal(Signal::USR2);
        Self::after(proxy, known)
    }

    /// Upgrades again.
    #[track_caller]
    pub(crate) fn next(self, proxy: &Proxy) -> Self {
        let known = Self::count(proxy);
        self.signal(Signal::USR2);
        let next = Self::after(proxy, known);
        std::mem::forget(self);
        next
    }

    /// The processes that have taken over so far.
    pub(crate) fn count(proxy: &Proxy) -> usize {
        Self::pids(proxy).len()
    }

    /// Waits for the one after the first `known`.
    #[track_caller]
    pub(crate) fn after(proxy: &Proxy, known: usize) -> Self {
        wait_for("the new process to accept", || {
            let lines = proxy.stderr();
            if let Some(line) = lines.iter().find(|line| line.contains("not upgraded")) {
                panic!("{line}: {}", lines.join("\n"));
            }
            Self::pids(proxy).get(known).copied().map(Self)
        })
    }

    fn pids(proxy: &Proxy) -> Vec<Pid> {
        let lines = proxy.stderr();
        let lines = lines.iter().filter(|line| line.contains("upgraded: the new process accepts"));
        let pid = |line: &String| {
            let (_, rest) = line.split_once("pid=").unwrap();
            Pid::from_raw(rest.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
        };
        lines.map(pid).collect()
    }

    pub(crate) fn pid(&self) -> Pid {
        self.0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    pub(crate) fn is_running(&self) -> bool {
        is_running(self.0)
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Whether a process runs, as its state in proc(5) tells: Z is one that has ended.
pub(crate) fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}
