//! The access logs: rendered by the workers, written by one thread a log.

use std::time::{Duration, Instant};

use super::{
    blocked::BlockedLogs,
    sink::{OpenError, OpenedOutputs, Sink},
    worker_logs::WorkerLogs,
};
use crate::{
    config::{self, LogTarget},
    metrics::AccessLogMetrics,
};

/// How long a log that has been taken out of the configuration may take for what it still holds.
pub(super) const LEAVING_PATIENCE: Duration = Duration::from_secs(5);

/// All configured access logs; kept by the control thread.
pub struct AccessLogs {
    sinks: Vec<Sink>,
    metrics: AccessLogMetrics,
    watch: BlockedLogs,
}

/// Logs that are open and not yet in use. Dropping it closes those that are new.
pub struct PreparedLogs(Vec<Sink>);

impl AccessLogs {
    /// Before there are any.
    pub fn empty(metrics: AccessLogMetrics) -> Self {
        Self { sinks: Vec::new(), metrics, watch: BlockedLogs::default() }
    }

    /// Opens every file (append, created with mode 0640) and starts the writer threads; theirs it is
    /// to connect to syslog receivers, which need not be there yet.
    pub fn open(logs: &[config::AccessLog], metrics: AccessLogMetrics) -> Result<Self, OpenError> {
        let mut opened = Self::empty(metrics);
        let outputs = OpenedOutputs::open(opened.missing(logs))?;
        let prepared = opened.prepare(logs, outputs)?;
        opened.commit(prepared);
        Ok(opened)
    }

    /// What `logs` has and these have not, to be opened for [`Self::prepare`].
    pub fn missing(&self, logs: &[config::AccessLog]) -> Vec<LogTarget> {
        let is_missing = |to: &&LogTarget| !self.sinks.iter().any(|sink| sink.goes_to(to));
        logs.iter().map(|log| &log.to).filter(is_missing).cloned().collect()
    }

    /// Starts the writers of `outputs`, what was missing of `logs`. What goes to the same place as
    /// now keeps its open file and its queue, whatever else about it is new.
    ///
    /// # Errors
    /// What cannot be used. These logs go on as they are, then and until [`Self::commit`].
    pub fn prepare(
        &self,
        logs: &[config::AccessLog],
        mut outputs: OpenedOutputs,
    ) -> Result<PreparedLogs, OpenError> {
        let sink = |log| Sink::open(log, &self.sinks, &mut outputs, &self.metrics.dropped);
        logs.iter().map(sink).collect::<Result<_, _>>().map(PreparedLogs)
    }

    /// Puts the prepared logs in the place of these; [`Self::worker_logs`] then makes writers for them,
    /// by which every worker [replaces](WorkerLogs::replace) its own.
    ///
    /// The thread of a log that is left out ends by itself, once it has written what the workers
    /// still had for it. What it cannot write within five seconds is counted as dropped.
    pub fn commit(&mut self, prepared: PreparedLogs) {
        let old = std::mem::replace(&mut self.sinks, prepared.0);
        let give_up_at = Instant::now() + LEAVING_PATIENCE;
        for sink in old.iter().filter(|old| !self.sinks.iter().any(|new| new.is_same(old))) {
            sink.leave(give_up_at);
        }
        self.sinks.iter().for_each(Sink::take_effect);
        self.watch.set(self.sinks.iter().map(|sink| sink.watched(&self.metrics)));
    }

    /// The logs that are in effect, as seen from outside.
    pub fn blocked_logs(&self) -> BlockedLogs {
        self.watch.clone()
    }

    /// A writer for one worker, to be made before and moved into its thread.
    pub fn worker_logs(&self) -> WorkerLogs {
        let mut groups = Vec::new();
        self.sinks.iter().for_each(|sink| sink.add_to(&mut groups, &self.metrics.dropped));
        WorkerLogs::new(groups)
    }

    /// Makes the writers open their files anew: after log rotation has renamed the file.
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.reopen();
        }
    }

    /// Writes what is queued and ends the writer threads, within `patience`.
    ///
    /// Every [`WorkerLogs`] is to be closed first: this waits for those that are not.
    /// What cannot be written by then is counted as dropped and said in the program's log.
    pub fn close(self, patience: Duration) {
        let give_up_at = Instant::now() + patience;
        // All are told before any is waited for, so that they share one deadline.
        let closing: Vec<_> =
            self.sinks.into_iter().filter_map(|sink| sink.start_close(give_up_at)).collect();
        for sink in closing {
            sink.wait(give_up_at);
        }
    }
}
