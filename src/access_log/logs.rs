//! The access logs, as owned by the control thread.

use std::time::{Duration, Instant};

use super::{
    blocked::BlockedLogs,
    configured_log::ConfiguredLog,
    opened_outputs::{OpenError, OpenedOutputs},
    queue::REMOVED_LOG_TIMEOUT,
    worker_logs::WorkerLogs,
};
use crate::{
    config::{self, LogTarget},
    metrics::AccessLogMetrics,
};

/// All configured access logs.
pub struct AccessLogs {
    logs: Vec<ConfiguredLog>,
    metrics: AccessLogMetrics,
    blocked: BlockedLogs,
}

/// Logs that are open but not in use yet. Dropping this value closes the new ones.
pub(crate) struct PreparedLogs(Vec<ConfiguredLog>);

impl AccessLogs {
    pub(crate) fn empty(metrics: AccessLogMetrics) -> Self {
        Self { logs: Vec::new(), metrics, blocked: BlockedLogs::default() }
    }

    /// Opens every file (append, created with mode 0640) and starts the writer threads, which
    /// connect to syslog receivers. The receivers need not be up yet.
    ///
    /// # Errors
    /// The first log that cannot be opened.
    pub fn open(logs: &[config::AccessLog], metrics: AccessLogMetrics) -> Result<Self, OpenError> {
        let mut opened = Self::empty(metrics);
        let outputs = OpenedOutputs::open(opened.missing(logs))?;
        let prepared = opened.prepare(logs, outputs)?;
        opened.commit(prepared);
        Ok(opened)
    }

    /// The targets of `logs` that are not open yet, to be opened for [`Self::prepare`].
    pub(crate) fn missing(&self, logs: &[config::AccessLog]) -> Vec<LogTarget> {
        let is_missing = |to: &&LogTarget| !self.logs.iter().any(|log| log.writes_to(to));
        logs.iter().map(|log| &log.to).filter(is_missing).cloned().collect()
    }

    /// Starts the writers of the new `outputs`. A log whose target stays the same keeps its open
    /// file and its queue, whatever else changes.
    ///
    /// # Errors
    /// The first log that cannot be used. The logs in use stay as they are until [`Self::commit`].
    pub(crate) fn prepare(
        &self,
        logs: &[config::AccessLog],
        mut outputs: OpenedOutputs,
    ) -> Result<PreparedLogs, OpenError> {
        let open = |log| ConfiguredLog::open(log, &self.logs, &mut outputs, &self.metrics.dropped);
        logs.iter().map(open).collect::<Result<_, _>>().map(PreparedLogs)
    }

    /// Replaces the logs in use with the prepared ones. Every worker then
    /// [replaces](WorkerLogs::replace) its own with new [`Self::worker_logs`].
    ///
    /// The writer of a removed log ends by itself once it has written the lines that workers still
    /// have for it. Lines that are not written within five seconds are counted as dropped.
    pub(crate) fn commit(&mut self, prepared: PreparedLogs) {
        let old = std::mem::replace(&mut self.logs, prepared.0);
        let deadline = Instant::now() + REMOVED_LOG_TIMEOUT;
        let is_removed =
            |old: &&ConfiguredLog| !self.logs.iter().any(|new| new.shares_writer_with(old));
        for removed in old.iter().filter(is_removed) {
            removed.give_up_at(deadline);
        }
        self.logs.iter().for_each(ConfiguredLog::take_effect);
        self.blocked.set(self.logs.iter().map(|log| log.blocked_log(&self.metrics)));
    }

    /// Which of the logs in use block new clients.
    pub(crate) fn blocked_logs(&self) -> BlockedLogs {
        self.blocked.clone()
    }

    /// One worker's end of the logs, to be made here and moved into its thread.
    pub fn worker_logs(&self) -> WorkerLogs {
        let mut groups = Vec::new();
        self.logs.iter().for_each(|log| log.add_to(&mut groups, &self.metrics.dropped));
        WorkerLogs::new(groups)
    }

    /// Makes the writers open their files again, after a log rotation has renamed them.
    pub(crate) fn reopen(&self) {
        self.logs.iter().for_each(ConfiguredLog::reopen);
    }

    /// Writes the queued lines and ends the writer threads, within `timeout`.
    ///
    /// Close every [`WorkerLogs`] first: this waits for open ones. Lines that are not written by
    /// then are counted as dropped and reported in the program's log.
    pub fn close(self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        // All writers are told before any of them is waited for, so that they share one deadline.
        let closing: Vec<_> =
            self.logs.into_iter().filter_map(|log| log.start_close(deadline)).collect();
        for writer in closing {
            writer.wait(deadline);
        }
    }
}
