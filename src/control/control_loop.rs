//! The control thread's loop: signals, reloads, housekeeping and the phases of the proxy's life.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{sync::mpsc, time::interval};

use super::{
    admin::ReloadRequests,
    drain::{self, Phase},
    housekeeping::Housekeeping,
    proxy::Proxy,
    reload::reload,
    service_manager::ServiceManager,
    signals::{SignalAction, Signals, StopSignals},
};
use crate::{
    access_log::AccessLogs,
    admin::{ReloadOutcome, ReloadRequest},
    config::LogLevel,
    worker::Worker,
};

/// How often a drain reports its progress to the service manager, for people who watch it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Why a drain is cut short.
const STOPPED_AGAIN: &str = "second stop signal";
const TIMED_OUT: &str = "drain.timeout has passed";

/// The status that the service manager shows.
const STATUS_SERVING: &str = "Serving";
const STATUS_NOT_RELOADED: &str = "Serving; the last reload was refused, see the log";

/// Sets the level of the program's log.
pub(crate) type SetLogLevel = Box<dyn Fn(LogLevel)>;

pub(super) struct ControlLoop {
    pub(super) proxy: Proxy,
    pub(super) manager: ServiceManager,
    /// Receives an item for each worker that ends, and is closed after the last.
    pub(super) workers_ended: mpsc::UnboundedReceiver<()>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) set_level: SetLogLevel,
    pub(super) reload_requests: ReloadRequests,
}

impl ControlLoop {
    /// Runs until a signal or a worker's failure ends the proxy. Also returns the access logs,
    /// which the caller has to close.
    pub(super) async fn run(mut self, mut signals: Signals) -> (AccessLogs, anyhow::Result<()>) {
        self.serve(&mut signals).await;
        let Proxy { workers, logs, .. } = self.proxy;
        (logs, Worker::stop_all(workers).map_err(Into::into))
    }

    async fn serve(&mut self, signals: &mut Signals) {
        let mut housekeeping = Housekeeping::new();
        let mut progress = interval(PROGRESS_INTERVAL);
        let mut phase = Phase::Serving;
        self.manager.ready(STATUS_SERVING);
        loop {
            // The reason for the next phase, if one begins.
            let mut end_phase = None;
            tokio::select! {
                action = signals.next() => {
                    end_phase = self.on_signal(action, &mut signals.stop, phase).await;
                }
                () = phase.deadline() => end_phase = Some(TIMED_OUT),
                Some(request) = self.reload_requests.recv() => {
                    end_phase = self.on_reload_request(request, &mut signals.stop, phase).await;
                }
                () = housekeeping.next(&self.proxy) => {}
                _ = progress.tick(), if phase != Phase::Serving => {
                    self.manager.draining(self.proxy.limiter.open());
                }
                ended = self.workers_ended.recv() => match (ended, phase) {
                    (Some(()), Phase::Serving) => {
                        tracing::error!("a worker has failed; stopping");
                        return;
                    }
                    (Some(()), _) => {}
                    (None, _) => {
                        tracing::info!("all sessions have ended");
                        return;
                    }
                },
            }
            let Some(why) = end_phase else { continue };
            phase = match phase {
                Phase::Serving => {
                    progress.reset_immediately();
                    drain::start(&self.proxy, &self.manager, &self.draining)
                }
                Phase::Draining { .. } => drain::end_sessions(&self.proxy, why),
                Phase::Ending { .. } => return,
            };
        }
    }

    /// Returns the reason why the phase ends, if it does.
    async fn on_signal(
        &mut self,
        action: SignalAction,
        stop: &mut StopSignals,
        phase: Phase,
    ) -> Option<&'static str> {
        match action {
            SignalAction::Stop => return Some(STOPPED_AGAIN),
            SignalAction::ReopenLogs => {
                tracing::info!("SIGUSR1: reopening the access logs");
                self.proxy.logs.reopen();
            }
            SignalAction::Reload => match self.reload_unless_stopped("SIGHUP", stop, phase).await {
                Some(ReloadOutcome::Draining) => tracing::warn!("SIGHUP: not reloaded: draining"),
                Some(_) => {}
                None => return Some(STOPPED_AGAIN),
            },
            SignalAction::Upgrade => tracing::warn!("SIGUSR2: upgrade is not available yet"),
        }
        None
    }

    /// Returns the reason why the phase ends, if it does.
    async fn on_reload_request(
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

    /// Reloads, if the phase allows it. `None` if a stop signal came first.
    async fn reload_unless_stopped(
        &mut self,
        requested_by: &str,
        stop: &mut StopSignals,
        phase: Phase,
    ) -> Option<ReloadOutcome> {
        if phase != Phase::Serving {
            return Some(ReloadOutcome::Draining);
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
        let status = if outcome.is_ok() { STATUS_SERVING } else { STATUS_NOT_RELOADED };
        self.manager.ready(status);
        self.proxy.metrics.count_reload(outcome.is_ok());
        let snapshot = self.proxy.current.load();
        let outcome = match outcome {
            Ok(changes) => {
                (self.set_level)(snapshot.config.log.level);
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
