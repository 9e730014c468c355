//! Signals, housekeeping, and the orderly end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep},
};

use super::{
    SetLevel, admin::ReloadsAsked, certificates, proxy::Proxy, service_manager::ServiceManager,
};
use crate::{admin::ReloadOutcome, observe::AccessLogs, worker::Worker};

/// How often counters of client addresses are tidied.
const TIDY: Duration = Duration::from_secs(10);

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
    pub(super) reloads_asked: ReloadsAsked,
}

impl Control {
    /// Until a signal, or a worker's failure, ends the proxy. Returns the access logs too, which are
    /// to be written to their end.
    pub(super) async fn run(mut self, mut signals: Signals) -> (AccessLogs, anyhow::Result<()>) {
        let outcome = self.serve(&mut signals).await;
        let Proxy { workers, logs, .. } = self.proxy;
        let stopped = Worker::stop_all(workers).map_err(Into::into);
        (logs, outcome.and(stopped))
    }

    async fn serve(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let Signals { stop, reopen, reload, upgrade } = signals;
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval_at(Instant::now() + certificates::LOOK, certificates::LOOK);
        self.manager.ready(SERVING);
        loop {
            tokio::select! {
                () = stop.asked() => break,
                _ = reopen.recv() => {
                    tracing::info!("SIGUSR1: opening the access logs anew");
                    self.proxy.logs.reopen();
                }
                _ = reload.recv() => {
                    tokio::select! {
                        _ = self.reload("SIGHUP") => {}
                        () = stop.asked() => break,
                    }
                }
                Some(request) = self.reloads_asked.requests.recv() => {
                    tokio::select! {
                        outcome = self.reload("admin API") => {
                            // Nobody waits any more if the client has left.
                            let _ = request.reply.send(outcome);
                        }
                        () = stop.asked() => break,
                    }
                }
                _ = upgrade.recv() => tracing::warn!("SIGUSR2: upgrade is not available yet"),
                _ = tidy.tick() => self.proxy.gate.forget_idle_addresses(),
                _ = look.tick() => certificates::look(&self.proxy.current.load().config),
                _ = self.workers_ended.recv() => {
                    tracing::error!("a worker has failed; stopping");
                    return Ok(());
                }
            }
        }
        self.drain(stop).await;
        Ok(())
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
        self.reloads_asked.note(&outcome);
        outcome
    }

    async fn drain(&mut self, stop: &mut Stop) {
        let Proxy { gate, workers, current, .. } = &self.proxy;
        let timeout = current.load().config.drain.timeout;
        self.draining.store(true, Ordering::Relaxed);
        self.manager.stopping(timeout);
        tracing::info!(
            connections = gate.open(),
            "stopped accepting; waiting up to {timeout:?} for sessions to end",
        );
        workers.iter().for_each(Worker::drain);
        tokio::select! {
            () = all_ended(&mut self.workers_ended) => {
                tracing::info!("all sessions have ended");
                return;
            }
            never = self.manager.follow_drain(gate) => match never {},
            () = stop.asked() => {
                tracing::warn!(connections = gate.open(), "asked again; ending what is left");
            }
            () = sleep(timeout) => {
                tracing::warn!(connections = gate.open(), "drain.timeout is over; ending what is left");
            }
        }
        // Ended one by one, so that each has its record; that takes milliseconds.
        workers.iter().for_each(Worker::end_sessions);
        tokio::select! {
            () = all_ended(&mut self.workers_ended) => {}
            () = stop.asked() => {}
            () = sleep(LAST_CALL) => {}
        }
    }
}

async fn all_ended(workers_ended: &mut mpsc::UnboundedReceiver<()>) {
    while workers_ended.recv().await.is_some() {}
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
