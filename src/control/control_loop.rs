//! The control thread's loop: signals, reloads, housekeeping and the phases of the proxy's life.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::bail;
use tokio::{sync::mpsc, time::interval};

use super::{
    admin::ReloadRequests,
    drain::{self, Phase, StopRequests},
    file_watch::FileWatch,
    housekeeping::Housekeeping,
    proxy::Proxy,
    service_manager::{Refused, ServiceManager},
    signals::{SignalAction, Signals, StopSignals},
    upgrade::{AfterUpgrade, UpgradeEvent, Upgrades},
};
use crate::{
    admin::{AdminMode, AdminThread, ReloadOutcome, UpgradeRequest},
    config::LogLevel,
    worker::Worker,
};

/// How often a drain reports its progress to the service manager, for people who watch it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// How long the access logs' writers may take at exit to write the remaining lines.
const LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The same after an upgrade, where nobody waits for this process to end.
const LONG_LOG_CLOSE_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a drain is cut short.
pub(super) const STOPPED_AGAIN: &str = "second stop signal";
const TIMED_OUT: &str = "drain.timeout has passed";

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
    pub(super) file_watch: FileWatch,
    pub(super) upgrades: Upgrades,
    pub(super) admin: Option<AdminThread>,
    pub(super) refused: Refused,
    /// Nothing accepts any more, and the service manager restarts the proxy when this process fails.
    pub(super) needs_restart: bool,
}

impl ControlLoop {
    /// Runs until a signal or a worker's failure ends the proxy.
    pub(super) async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        self.serve(&mut signals).await;
        let Self { proxy, mut upgrades, admin, needs_restart, .. } = self;
        let Proxy { workers, logs, metrics, .. } = proxy;
        let outcome = Worker::stop_all(workers);
        drop(admin);
        let is_served_by_another = upgrades.has_handed_over();
        logs.close(if is_served_by_another { LONG_LOG_CLOSE_TIMEOUT } else { LOG_CLOSE_TIMEOUT });
        // Only now is it known how many lines could not be written.
        upgrades.finish(&metrics).await;
        outcome?;
        if needs_restart {
            bail!("the process after this one has ended, and this one no longer accepts");
        }
        Ok(())
    }

    async fn serve(&mut self, signals: &mut Signals) {
        let mut housekeeping = Housekeeping::new();
        let mut progress = interval(PROGRESS_INTERVAL);
        let (mut phase, mut has_workers) = (Phase::Serving, true);
        let mut stops = StopRequests::default();
        if !self.upgrades.has_previous() {
            self.manager.ready(self.refused);
        }
        loop {
            // The reason for the next phase, if one begins.
            let mut end_phase = None;
            tokio::select! {
                action = signals.next() => {
                    end_phase = self.on_signal(action, &mut signals.stop, phase).await;
                    end_phase = end_phase.filter(|_| stops.signalled());
                }
                () = phase.deadline() => end_phase = Some(TIMED_OUT),
                Some(request) = self.reload_requests.recv() => {
                    end_phase = self.on_reload_request(request, &mut signals.stop, phase).await;
                }
                Some(changed) = self.file_watch.changed() => {
                    end_phase = self.on_changed_files(changed, &mut signals.stop, phase).await;
                }
                event = self.upgrades.next() => match self.on_upgrade(event, phase).await {
                    AfterUpgrade::Nothing => {}
                    AfterUpgrade::Stop => {
                        end_phase = stops.passed_on().then_some(STOPPED_AGAIN);
                    }
                    after => phase = self.after_upgrade(&after, phase),
                },
                () = housekeeping.next(&self.proxy) => {}
                _ = progress.tick(), if phase.is_ending() => {
                    self.manager.draining(self.upgrades.connections(&self.proxy));
                }
                ended = self.workers_ended.recv(), if has_workers => match (ended, phase) {
                    (Some(()), Phase::Serving) => {
                        tracing::error!("a worker has failed; stopping");
                        return;
                    }
                    (Some(()), _) => {}
                    (None, _) => has_workers = false,
                },
            }
            // A process in the middle of three passes on what the first and the last tell each other.
            // One that stops waits for the process before, which a service manager would otherwise
            // stop a second time. The phase has an end, so that it does not wait for long.
            let is_awaited = phase != Phase::Serving && self.upgrades.has_previous();
            if !has_workers && !is_awaited {
                tracing::info!("all sessions have ended");
                return;
            }
            let Some(why) = end_phase else { continue };
            if !phase.is_ending() {
                progress.reset_immediately();
            }
            match self.end(phase, why).await {
                Some(next) => phase = next,
                None => return,
            }
        }
    }

    /// Ends a phase; returns the next, or `None` after the last.
    async fn end(&mut self, phase: Phase, why: &'static str) -> Option<Phase> {
        match phase {
            Phase::Serving | Phase::HandedOver { .. } => {
                self.upgrades.cancel(&self.proxy, self.admin.as_ref()).await;
                Some(drain::start(&self.proxy, &self.manager, &self.draining, phase))
            }
            Phase::Draining { .. } => {
                if why == STOPPED_AGAIN {
                    self.upgrades.stop_previous();
                }
                Some(drain::end_sessions(&self.proxy, why))
            }
            Phase::Ending { .. } => None,
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
                self.upgrades.reopen_logs();
            }
            SignalAction::Reload => match self.reload_unless_stopped("SIGHUP", stop, phase).await {
                Some(ReloadOutcome::Draining) => tracing::warn!(
                    "SIGHUP: not reloaded: draining, or another process has taken over"
                ),
                Some(ReloadOutcome::Upgrading) => {
                    tracing::warn!("SIGHUP: not reloaded: an upgrade is in progress");
                }
                Some(_) => {}
                None => return Some(STOPPED_AGAIN),
            },
            SignalAction::Upgrade => {
                let is_draining = phase != Phase::Serving;
                self.upgrades.begin(&self.proxy, "SIGUSR2", None, None, is_draining);
            }
        }
        None
    }

    async fn on_upgrade(&mut self, event: UpgradeEvent, phase: Phase) -> AfterUpgrade {
        let Self { upgrades, proxy, admin, manager, refused, .. } = self;
        match event {
            UpgradeEvent::Request(UpgradeRequest { binary, reply }) => {
                let is_draining = phase != Phase::Serving;
                upgrades.begin(proxy, "admin API", binary, Some(reply), is_draining);
            }
            UpgradeEvent::Step(step) => {
                return upgrades.on_step(step, proxy, admin.as_ref(), phase.is_ending()).await;
            }
            UpgradeEvent::Previous(message) => {
                if let (Some(left), Phase::Serving) = (upgrades.on_previous(message, proxy), phase)
                {
                    manager.taken_over(*refused, left);
                }
            }
            UpgradeEvent::Report => upgrades.report(proxy),
        }
        AfterUpgrade::Nothing
    }

    fn after_upgrade(&mut self, after: &AfterUpgrade, phase: Phase) -> Phase {
        match after {
            AfterUpgrade::HandedOver { pid } => {
                self.manager.hand_over(*pid);
                if let Some(admin) = &self.admin {
                    admin.own_file(false);
                    admin.set_mode(AdminMode::HandedOver);
                }
                drain::hand_over(&self.proxy, &self.draining)
            }
            AfterUpgrade::TakenBack => {
                self.manager.take_back(self.refused);
                if let Some(admin) = &self.admin {
                    admin.own_file(true);
                }
                drain::take_back(&self.proxy, &self.draining)
            }
            AfterUpgrade::Orphaned => {
                // Without a service manager nobody would restart the proxy, and the sessions go on.
                if !self.manager.take_back_to_fail() {
                    return phase;
                }
                self.needs_restart = true;
                drain::end_sessions(&self.proxy, "the proxy has to be restarted")
            }
            AfterUpgrade::SessionsMoved => {
                self.proxy.workers.iter().for_each(Worker::retire);
                if let Some(admin) = &mut self.admin {
                    admin.close();
                }
                drain::sessions_moved(&self.proxy, phase)
            }
            AfterUpgrade::Nothing | AfterUpgrade::Stop => phase,
        }
    }
}
