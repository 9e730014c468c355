//! The processes of a proxy: the first, and those that have taken over by an upgrade.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// All of them are killed when this is dropped.
pub(super) struct Processes(Mutex<Vec<Process>>);

enum Process {
    First(Child),
    Later { pid: Pid, status: Option<ExitStatus> },
}

impl Processes {
    pub(super) fn new(first: Child) -> Self {
        Self(Mutex::new(vec![Process::First(first)]))
    }

    /// `pid` has taken over: it is the process of the proxy from now on.
    pub(super) fn follow(&self, pid: Pid) {
        self.lock().push(Process::Later { pid, status: None });
        // It is a child of the one before, and has to become one of the test's when that ends.
        set_child_subreaper(Some(getpid())).unwrap();
    }

    /// The one that accepts.
    pub(super) fn pid(&self) -> Pid {
        self.lock().last().unwrap().pid()
    }

    /// How the one that accepts has ended. `None` while it runs, and while the one before it does.
    pub(super) fn try_wait(&self) -> Option<ExitStatus> {
        self.lock().last_mut().unwrap().try_wait()
    }

    pub(super) fn is_running(&self) -> bool {
        self.try_wait().is_none() && Path::new(&format!("/proc/{}", self.pid())).exists()
    }

    /// How those before it have ended, once all have.
    pub(super) fn earlier_exits(&self) -> Option<Vec<ExitStatus>> {
        let mut all = self.lock();
        let earlier = all.len() - 1;
        all[..earlier].iter_mut().map(Process::try_wait).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn pid(&self) -> Pid {
        match self {
            Self::First(child) => Pid::from_child(child),
            Self::Later { pid, .. } => *pid,
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        match self {
            Self::First(child) => child.try_wait().unwrap(),
            Self::Later { pid, status } => {
                if status.is_none() {
                    // Fails while its parent is the process before it.
                    let ended = waitpid(Some(*pid), WaitOptions::NOHANG).ok().flatten();
                    *status = ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
                }
                *status
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // The first one first: the next is then the test's child, and can be waited for.
        for process in self.lock().iter_mut() {
            if process.try_wait().is_some() {
                continue;
            }
            let _ = kill_process(process.pid(), Signal::KILL);
            let _ = waitpid(Some(process.pid()), WaitOptions::empty());
        }
    }
}
