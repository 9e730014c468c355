//! Notices that files which the configuration names have changed.
//!
//! Their metadata is polled: inotify reports no changes by other hosts on NFS, and watches that
//! survive swapped links and removed folders have to cover every folder on the way. A poll of a
//! dozen files costs some 20 µs every two seconds.

mod change_detector;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use change_detector::ChangeDetector;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use crate::{config::Config, snapshot::Snapshot};

/// Files of the configuration in force have changed, and are to be read again.
pub(super) struct ChangedFiles {
    /// The configuration that they were compared with.
    pub(super) generation: u64,
    /// Empty: they are read once more after they were refused.
    pub(super) paths: Vec<PathBuf>,
    pub(super) reply: oneshot::Sender<FilesRead>,
}

/// What became of changed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilesRead {
    /// They are in use, or another configuration is.
    Done,
    /// They have faults.
    Refused,
}

/// The control thread's end of the watch.
pub(super) struct FileWatch {
    changes: mpsc::Receiver<ChangedFiles>,
    reloaded: Arc<Notify>,
}

impl FileWatch {
    /// Starts to watch the files of the configuration in force, on a task of its own.
    pub(super) fn start(current: &Arc<ArcSwap<Snapshot>>) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let reloaded = Arc::new(Notify::new());
        tokio::spawn(watch(current.clone(), sender, reloaded.clone()));
        Self { changes, reloaded }
    }

    /// Waits for changed files. Cancel safe.
    pub(super) async fn changed(&mut self) -> Option<ChangedFiles> {
        self.changes.recv().await
    }

    /// Another configuration is in force, perhaps with another interval.
    pub(super) fn follow(&self) {
        self.reloaded.notify_one();
    }
}

/// Polls until the control loop has ended.
async fn watch(
    current: Arc<ArcSwap<Snapshot>>,
    changes: mpsc::Sender<ChangedFiles>,
    reloaded: Arc<Notify>,
) {
    loop {
        let (generation, config) = {
            let snapshot = current.load();
            (snapshot.generation, snapshot.config.clone())
        };
        if !config.watch {
            reloaded.notified().await;
            continue;
        }
        let read = config.files.iter().map(|file| file.state).collect();
        let mut detector = ChangeDetector::new(read);
        while let Some(paths) = next_change(&config, &mut detector, &reloaded).await {
            let (reply, replied) = oneshot::channel();
            if changes.send(ChangedFiles { generation, paths, reply }).await.is_err() {
                return;
            }
            match replied.await {
                Ok(FilesRead::Refused) => detector.refused(Instant::now()),
                // Also if a stop signal has ended the attempt.
                Ok(FilesRead::Done) | Err(_) => break,
            }
        }
    }
}

/// Polls until files are to be read; `None`: another configuration is in force.
async fn next_change(
    config: &Arc<Config>,
    detector: &mut ChangeDetector,
    reloaded: &Notify,
) -> Option<Vec<PathBuf>> {
    loop {
        if is_notified_within(config.watch_interval, reloaded).await {
            return None;
        }
        // A network file system may hang, which must not stop the control thread.
        let polled = config.clone();
        let states = spawn_blocking(move || polled.file_states()).await.ok()?;
        if detector.poll(states, Instant::now()) {
            let path = |index: usize| Some(config.files.get(index)?.path.clone());
            return Some(detector.changed().filter_map(path).collect());
        }
    }
}

async fn is_notified_within(interval: Duration, reloaded: &Notify) -> bool {
    timeout(interval, reloaded.notified()).await.is_ok()
}
