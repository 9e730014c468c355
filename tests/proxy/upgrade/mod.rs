//! Upgrades: another process takes over from the running one.

mod failures;
mod health;
mod listeners;
mod service;
mod sessions;
mod state;
mod tickets;

use std::{fs, mem};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Proxy, wait_for};

/// A process that has taken over; killed when it is dropped.
pub(crate) struct NewProcess(Pid);

impl NewProcess {
    /// Upgrades the proxy by SIGUSR2 at its first process.
    #[track_caller]
    pub(crate) fn of(proxy: &Proxy) -> Self {
        Self::by(proxy, || proxy.signal(Signal::USR2))
    }

    /// Upgrades again.
    #[track_caller]
    pub(crate) fn next(&mut self, proxy: &Proxy) {
        let next = Self::by(proxy, || self.signal(Signal::USR2));
        // The one before goes on with its sessions.
        mem::forget(mem::replace(self, next));
    }

    /// Waits for the upgrade that `ask` asks for.
    #[track_caller]
    pub(crate) fn by(proxy: &Proxy, ask: impl FnOnce()) -> Self {
        let known = proxy.stderr().len();
        ask();
        wait_for("the new process to accept", || {
            let mut lines = proxy.stderr().split_off(known);
            // Lines of an upgrade before it may have been read since.
            let began = lines.iter().rposition(|line| line.contains("upgrading to"))?;
            lines.drain(..began);
            if let Some(line) = lines.iter().find(|line| line.contains("not upgraded")) {
                panic!("{line}: {}", lines.join("\n"));
            }
            let line = lines.iter().find(|line| line.contains("the new process accepts"))?;
            let (_, rest) = line.split_once("pid=").unwrap();
            let pid = rest.split_whitespace().next().unwrap().parse().unwrap();
            Some(Self(Pid::from_raw(pid).unwrap()))
        })
    }

    /// It is the proxy's process from now on.
    pub(crate) fn follow(self, proxy: &Proxy) {
        proxy.follow(self.0.as_raw_nonzero().get().cast_unsigned());
        mem::forget(self);
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

/// Renames the pool in the configuration: the sessions cannot move to a process that does not know
/// their pool.
pub(crate) fn rename_pool(proxy: &Proxy) {
    let text = fs::read_to_string(proxy.config_file()).unwrap();
    fs::write(proxy.config_file(), text.replace("brokers", "others")).unwrap();
}
