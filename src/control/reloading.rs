//! Reloads as the control loop does them, and reports them to everyone concerned.

use std::path::PathBuf;

use super::{
    control_loop::{ControlLoop, STOPPED_AGAIN},
    drain::Phase,
    file_watch::{ChangedFiles, FilesRead},
    reload::{reload, reload_files},
    signals::StopSignals,
};
use crate::admin::{ReloadOutcome, ReloadRequest};

impl ControlLoop {
    /// Returns the reason why the phase ends, if it does.
    pub(super) async fn on_reload_request(
        &mut self,
        request: ReloadRequest,
        stop: &mut StopSignals,
        phase: Phase,
    ) -> Option<&'static str> {
        let Some(outcome) = self.reload_unless_stopped("admin API", stop, phase).await else {
            return Some(STOPPED_AGAIN);
        };
        // Fails if the API's client has disconnected.
        drop(request.reply.send(outcome));
        None
    }

    /// Returns the reason why the phase ends, if it does.
    pub(super) async fn on_changed_files(
        &mut self,
        changed: ChangedFiles,
        stop: &mut StopSignals,
        phase: Phase,
    ) -> Option<&'static str> {
        let is_reloaded = changed.generation != self.proxy.current.load().generation;
        let outcome = if is_reloaded || phase != Phase::Serving {
            FilesRead::Done
        } else {
            tokio::select! {
                outcome = self.reload_files(changed.paths) => outcome,
                () = stop.received() => return Some(STOPPED_AGAIN),
            }
        };
        // Fails once the watch has ended.
        let _ = changed.reply.send(outcome);
        None
    }

    /// Reads the files that the configuration names again, and reports the outcome. A refusal is
    /// reported once, although it is tried again.
    async fn reload_files(&mut self, paths: Vec<PathBuf>) -> FilesRead {
        match reload_files(&mut self.proxy).await {
            Ok((paths, changes)) => {
                self.file_watch.follow();
                self.set_files_refused(false);
                self.proxy.metrics.count_file_reload(true);
                for change in &changes {
                    tracing::info!("{change}");
                }
                let generation = self.proxy.current.load().generation;
                let files = list_paths(&paths);
                if files.is_empty() {
                    tracing::info!(generation, "refused files are again as they were");
                } else {
                    tracing::info!(generation, %files, "changed files are in use; sessions are kept");
                }
                self.reload_requests.record_files(paths, Vec::new());
                FilesRead::Done
            }
            Err(faults) => {
                self.set_files_refused(true);
                let (files, why) = (list_paths(&paths), faults.join("; "));
                if self.reload_requests.record_files(paths, faults) {
                    self.proxy.metrics.count_file_reload(false);
                    tracing::warn!(
                        %files,
                        "changed files are refused, and those from before stay in use: {why}"
                    );
                }
                FilesRead::Refused
            }
        }
    }

    fn set_files_refused(&mut self, files: bool) {
        if self.refused.files != files {
            self.refused.files = files;
            self.manager.serving(self.refused);
        }
    }

    /// Reloads, if the phase allows it. `None` if a stop signal came first.
    pub(super) async fn reload_unless_stopped(
        &mut self,
        requested_by: &str,
        stop: &mut StopSignals,
        phase: Phase,
    ) -> Option<ReloadOutcome> {
        if phase != Phase::Serving {
            return Some(ReloadOutcome::Draining);
        }
        if self.upgrades.is_in_progress() {
            return Some(ReloadOutcome::Upgrading);
        }
        tokio::select! {
            outcome = self.reload(requested_by) => Some(outcome),
            () = stop.received() => None,
        }
    }

    /// Reads the configuration again, applies it, and reports the outcome to everyone concerned.
    async fn reload(&mut self, requested_by: &str) -> ReloadOutcome {
        tracing::info!("{requested_by}: reloading {}", self.proxy.file.display());
        self.manager.reloading();
        let outcome = reload(&mut self.proxy).await;
        // A reload that is applied has read all files.
        self.refused.reload = outcome.is_err();
        self.refused.files &= outcome.is_err();
        self.manager.ready(self.refused);
        self.proxy.metrics.count_reload(outcome.is_ok());
        let snapshot = self.proxy.current.load();
        let outcome = match outcome {
            Ok(changes) => {
                (self.set_level)(snapshot.config.log.level);
                self.file_watch.follow();
                for change in &changes {
                    tracing::info!("{change}");
                }
                let generation = snapshot.generation;
                tracing::info!(generation, changes = changes.len(), "reloaded; sessions are kept");
                ReloadOutcome::Applied { generation, changes }
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                tracing::error!("not reloaded: the configuration is unchanged");
                ReloadOutcome::Refused { faults }
            }
        };
        self.reload_requests.record(&outcome);
        outcome
    }
}

fn list_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
