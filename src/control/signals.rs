//! Signals, housekeeping, and the orderly end.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until},
};

use super::{
    SetLevel, admin::ReloadRequests, certificates, proxy::Proxy, service_manager::ServiceManager,
};
use crate::{access_log::AccessLogs, admin::ReloadOutcome, session::Drain, worker::Worker};

/// How often counters of client addresses are tidied.
const TIDY: Duration = Duration::from_secs(10);

/// How often a drain says how far it is: as often as somebody who watches it would look.
const PROGRESS: Duration = Duration::from_secs(2);

/// Why what is left ends, by a second signal.
const ASKED: &str = "asked again";

/// What the service manager shows as our status.
const SERVING: &str = "Serving";
const NOT_RELOADED: &str = "Serving; the last reload was refused, see the log";

/// How long sessions may take to end and be recorded once they have been told to.
const LAST_CALL: Duration = Duration::from_secs(2);

/// What the control thread looks after.
pub(super) struct Control {
    pub(super) proxy: Proxy,
    pub(super) manager: ServiceManager,
    /// Told by each worker that ends, and closed with the last.
    pub(super) workers_ended: mpsc::UnboundedReceiver<()>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) set_level: SetLevel,
    pub(super) reload_requests: ReloadRequests,
}

impl Control {
    /// Until a signal, or a worker's failure, ends the proxy. Returns the access logs too, which are
    /// to be written to their end.
    pub(super) async fn run(mut self, mut signals: Signals) -> (AccessLogs, anyhow::Result<()>) {
        self.serve(&mut signals).await;
        let Proxy { workers, logs, .. } = self.proxy;
        (logs, Worker::stop_all(workers).map_err(Into::into))
    }

    /// Sees to signals and to what is asked for, in every phase of the proxy's life.
    async fn serve(&mut self, signals: &mut Signals) {
        let Signals { stop, reopen, reload, upgrade } = signals;
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval_at(Instant::now() + certificates::LOOK, certificates::LOOK);
        let mut progress = interval(PROGRESS);
        let mut phase = Phase::Serving;
        self.manager.ready(SERVING);
        loop {
            let mut over = None;
            tokio::select! {
                () = stop.asked() => over = Some(ASKED),
                () = phase.over() => over = Some("drain.timeout is over"),
                _ = reopen.recv() => {
                    tracing::info!("SIGUSR1: opening the access logs anew");
                    self.proxy.logs.reopen();
                }
                _ = reload.recv() => if phase == Phase::Serving {
                    tokio::select! {
                        _ = self.reload("SIGHUP") => {}
                        () = stop.asked() => over = Some(ASKED),
                    }
                } else {
                    tracing::warn!("SIGHUP: not reloaded: draining");
                },
                Some(request) = self.reload_requests.requests.recv() => {
                    let outcome = if phase == Phase::Serving {
                        tokio::select! {
                            outcome = self.reload("admin API") => Some(outcome),
                            () = stop.asked() => None,
                        }
                    } else {
                        Some(ReloadOutcome::Draining)
                    };
                    match outcome {
                        // Nobody waits any more if the client has left.
                        Some(outcome) => drop(request.reply.send(outcome)),
                        None => over = Some(ASKED),
                    }
                }
                _ = upgrade.recv() => tracing::warn!("SIGUSR2: upgrade is not available yet"),
                _ = tidy.tick() => self.proxy.limiter.forget_idle_addresses(),
                _ = look.tick() => certificates::look(&self.proxy.current.load().config),
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
            let Some(why) = over else { continue };
            phase = match phase {
                Phase::Serving => {
                    progress.reset_immediately();
                    self.drain()
                }
                Phase::Draining { .. } => self.end_sessions(why),
                Phase::Ending { .. } => return,
            };
        }
    }

    /// Goes by the configuration as the file has it now; `by` is who asked.
    async fn reload(&mut self, by: &str) -> ReloadOutcome {
        tracing::info!("{by}: reloading {}", self.proxy.file.display());
        self.manager.reloading();
        let outcome = self.proxy.reload().await;
        self.manager.ready(if outcome.is_ok() { SERVING } else { NOT_RELOADED });
        self.proxy.metrics.count_reload(outcome.is_ok());
        let snapshot = self.proxy.current.load();
        let outcome = match outcome {
            Ok(changes) => {
                (self.set_level)(snapshot.config.log.level);
                for change in &changes {
                    tracing::info!("{change}");
                }
                let generation = snapshot.generation;
                tracing::info!(generation, changes = changes.len(), "reloaded; sessions stay");
                ReloadOutcome::Applied { generation, changes }
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                tracing::error!("not reloaded: the configuration stays as it was");
                ReloadOutcome::Refused { faults }
            }
        };
        self.reload_requests.record(&outcome);
        outcome
    }

    /// Has the workers accept no more, and end their sessions one after the other.
    fn drain(&self) -> Phase {
        let Proxy { limiter, workers, current, .. } = &self.proxy;
        let timeout = current.load().config.drain.timeout;
        let until = Instant::now() + timeout;
        self.draining.store(true, Ordering::Relaxed);
        self.manager.stopping(timeout);
        tracing::info!(
            connections = limiter.open(),
            "stopped accepting; ending the sessions over {timeout:?}, the oldest first",
        );
        let others = workers.len().saturating_sub(1).max(1) as f64;
        for (index, worker) in workers.iter().enumerate() {
            worker.drain(Drain { until: until.into(), offset: index as f64 / others });
        }
        Phase::Draining { until }
    }

    /// Ends what is left one by one, so that each has its record; that takes milliseconds.
    fn end_sessions(&self, why: &str) -> Phase {
        let connections = self.proxy.limiter.open();
        tracing::warn!(connections, "{why}; ending what is left");
        self.proxy.workers.iter().for_each(Worker::end_sessions);
        Phase::Ending { until: Instant::now() + LAST_CALL }
    }
}

/// How far the proxy's life has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Sessions are being ended one after the other.
    Draining {
        until: Instant,
    },
    /// What is left has been told to end.
    Ending {
        until: Instant,
    },
}

impl Phase {
    /// Waits for its end, if time brings that.
    async fn over(self) {
        match self {
            Self::Serving => pending().await,
            Self::Draining { until } | Self::Ending { until } => sleep_until(until).await,
        }
    }
}

/// What the process is told. From when they are made, none of them ends it at once.
pub(super) struct Signals {
    pub(super) stop: Stop,
    reopen: Signal,
    reload: Signal,
    upgrade: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            stop: Stop { terminate, interrupt },
            reopen: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// SIGTERM and SIGINT mean the same.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
