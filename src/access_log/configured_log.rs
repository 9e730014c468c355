//! One access log as configured, and the writer it shares with earlier configurations.

use std::{sync::Arc, time::Instant};

use prometheus::IntCounter;

use super::{
    blocked::{BlockedLog, LogBuffers},
    format::LineFormat,
    opened_outputs::{OpenError, OpenedOutputs},
    syslog_header::SyslogHeader,
    worker_buffer::WorkerBuffer,
    worker_logs::FormatGroup,
    writer::{ClosingWriter, WriterHandle},
};
use crate::{
    config::{AccessLog, LogTarget, WhenFull},
    metrics::AccessLogMetrics,
};

/// One log as configured. Successive configurations of the same target share its writer.
pub(super) struct ConfiguredLog {
    config: AccessLog,
    format: LineFormat,
    /// For a syslog receiver.
    header: Option<SyslogHeader>,
    shared: Arc<SharedWriter>,
}

/// The part of a log that outlives a change of the configuration.
struct SharedWriter {
    writer: WriterHandle,
    buffers: Arc<LogBuffers>,
}

impl ConfiguredLog {
    /// Shares the writer of the log among `others` that has the same target, or starts a new one.
    pub(super) fn open(
        log: &AccessLog,
        others: &[Self],
        outputs: &mut OpenedOutputs,
        dropped: &IntCounter,
    ) -> Result<Self, OpenError> {
        let format = LineFormat::new(&log.format)
            .map_err(|error| OpenError::Format { to: log.to.clone(), error })?;
        let header = match &log.to {
            LogTarget::Syslog(syslog) => Some(SyslogHeader::new(syslog)),
            LogTarget::File(_) | LogTarget::Stdout => None,
        };
        let known = others.iter().find(|other| other.config.to == log.to);
        let shared = if let Some(known) = known {
            known.shared.clone()
        } else {
            let output = outputs.take(&log.to)?;
            let writer = WriterHandle::start(log, output, dropped.clone())
                .map_err(|error| OpenError::Thread { to: log.to.clone(), error })?;
            Arc::new(SharedWriter { writer, buffers: Arc::default() })
        };
        Ok(Self { config: log.clone(), format, header, shared })
    }

    /// Adds one worker's buffer for this log to the group of its format.
    pub(super) fn add_to(&self, groups: &mut Vec<FormatGroup>, dropped: &IntCounter) {
        let buffer = WorkerBuffer::new(
            self.header.clone(),
            self.config.events,
            self.config.when_full,
            self.shared.writer.queue(),
            self.shared.buffers.add(),
            dropped.clone(),
        );
        match groups.iter_mut().find(|group| group.source == self.config.format) {
            Some(group) => group.buffers.push(buffer),
            None => groups.push(FormatGroup {
                source: self.config.format.clone(),
                format: self.format.clone(),
                buffers: vec![buffer],
            }),
        }
    }

    pub(super) fn writes_to(&self, to: &LogTarget) -> bool {
        self.config.to == *to
    }

    pub(super) fn shares_writer_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Makes the writer follow this configuration from now on.
    pub(super) fn take_effect(&self) {
        self.shared.writer.configure(&self.config);
    }

    /// For [`super::BlockedLogs`].
    pub(super) fn blocked_log(&self, metrics: &AccessLogMetrics) -> BlockedLog {
        let to = self.config.to.clone();
        let gauge = metrics.blocked(&to.to_string());
        let blocks = self.config.when_full == WhenFull::Block;
        BlockedLog::new(to, blocks, self.shared.buffers.clone(), gauge)
    }

    pub(super) fn reopen(&self) {
        self.shared.writer.reopen();
    }

    /// Makes the writer end once its queue is empty and no sender is left, or at the deadline.
    pub(super) fn give_up_at(&self, deadline: Instant) {
        self.shared.writer.give_up_at(deadline);
    }

    /// Like [`Self::give_up_at`], but the writer's end can be waited for.
    pub(super) fn start_close(self, deadline: Instant) -> Option<ClosingWriter> {
        self.give_up_at(deadline);
        Some(Arc::into_inner(self.shared)?.writer.close(self.config.to))
    }
}
