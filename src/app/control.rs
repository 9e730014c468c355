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
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    admin::ReloadsAsked,
    certificates::{self, Certificates},
};
use crate::{admin::ReloadOutcome, observe::AccessLogs, session::Gate, worker::Worker};

/// How often counters of client addresses are tidied.
const TIDY: Duration = Duration::from_secs(10);

/// How long sessions may take to end and be recorded once they have been told to.
const LAST_CALL: Duration = Duration::from_secs(2);

/// What the control thread looks after.
pub(super) struct Control {
    pub(super) workers: Vec<Worker>,
    /// Told by each worker that ends, and closed with the last.
    pub(super) workers_ended: mpsc::UnboundedReceiver<()>,
    pub(super) gate: Arc<Gate>,
    pub(super) drain: Duration,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) certificates: Certificates,
    pub(super) reloads_asked: ReloadsAsked,
}

impl Control {
    /// Until a signal, or a worker's failure, ends the proxy.
    pub(super) async fn run(mut self, logs: &AccessLogs) -> anyhow::Result<()> {
        let mut stop = Stop::new()?;
        let mut reopen = signal(SignalKind::user_defined1())?;
        let mut reload = signal(SignalKind::hangup())?;
        let mut upgrade = signal(SignalKind::user_defined2())?;
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(certificates::LOOK);
        loop {
            tokio::select! {
                () = stop.asked() => break,
                _ = reopen.recv() => {
                    tracing::info!("SIGUSR1: opening the access logs anew");
                    logs.reopen();
                }
                _ = reload.recv() => self.certificates.renew(),
                Some(request) = self.reloads_asked.requests.recv() => {
                    let faults = vec!["reload is not available yet".to_owned()];
                    let outcome = ReloadOutcome::Refused { faults };
                    self.reloads_asked.note(&outcome);
                    // Nobody waits any more if the client has left.
                    let _ = request.reply.send(outcome);
                }
                _ = upgrade.recv() => tracing::warn!("SIGUSR2: upgrade is not available yet"),
                _ = tidy.tick() => self.gate.forget_idle_addresses(),
                _ = look.tick() => self.certificates.look(),
                _ = self.workers_ended.recv() => {
                    tracing::error!("a worker has failed; stopping");
                    return self.stop();
                }
            }
        }
        self.drain(&mut stop).await
    }

    async fn drain(mut self, stop: &mut Stop) -> anyhow::Result<()> {
        self.draining.store(true, Ordering::Relaxed);
        tracing::info!(
            connections = self.gate.open(),
            "stopped accepting; waiting up to {:?} for sessions to end",
            self.drain
        );
        self.workers.iter().for_each(Worker::drain);
        tokio::select! {
            () = all_ended(&mut self.workers_ended) => {
                tracing::info!("all sessions have ended");
                return self.stop();
            }
            () = stop.asked() => {
                tracing::warn!(connections = self.gate.open(), "asked again; ending what is left");
            }
            () = sleep(self.drain) => {
                tracing::warn!(connections = self.gate.open(), "drain.timeout is over; ending what is left");
            }
        }
        // Ended one by one, so that each has its record; that takes milliseconds.
        self.workers.iter().for_each(Worker::end_sessions);
        tokio::select! {
            () = all_ended(&mut self.workers_ended) => {}
            () = stop.asked() => {}
            () = sleep(LAST_CALL) => {}
        }
        self.stop()
    }

    fn stop(self) -> anyhow::Result<()> {
        self.workers.iter().for_each(Worker::stop);
        for worker in self.workers {
            worker.join()?;
        }
        Ok(())
    }
}

async fn all_ended(workers_ended: &mut mpsc::UnboundedReceiver<()>) {
    while workers_ended.recv().await.is_some() {}
}

/// SIGTERM and SIGINT mean the same.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
