//! The control thread's handle of a writer.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::sync::mpsc::{Sender, channel};

use super::{WriterControl, thread::WriterThread};
use crate::{
    access_log::{
        output::LogOutput,
        queue::{QUEUE_CHUNKS, WriterMessage},
    },
    config::{AccessLog, LogTarget},
};

/// How long a writer that gave up at the deadline may take to report it.
const REPORT_TIMEOUT: Duration = Duration::from_millis(100);

pub(in crate::access_log) struct WriterHandle {
    queue: Sender<WriterMessage>,
    control: Arc<WriterControl>,
    /// Disconnected when the writer's thread ends.
    done: Mutex<Receiver<()>>,
}

/// A writer that has been told to end.
pub(in crate::access_log) struct ClosingWriter {
    to: LogTarget,
    done: Receiver<()>,
}

impl WriterHandle {
    /// Starts the thread.
    pub(in crate::access_log) fn start(
        log: &AccessLog,
        output: LogOutput,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let control = Arc::new(WriterControl::new(log));
        let writer = WriterThread::new(log.to.to_string(), output, dropped, control.clone());
        let (queue, chunks) = channel(QUEUE_CHUNKS);
        let (done_tx, done) = sync_channel(0);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(chunks, done_tx))?;
        Ok(Self { queue, control, done: Mutex::new(done) })
    }

    /// The queue to which workers send their chunks.
    pub(in crate::access_log) fn queue(&self) -> Sender<WriterMessage> {
        self.queue.clone()
    }

    pub(in crate::access_log) fn configure(&self, log: &AccessLog) {
        self.control.configure(log);
    }

    pub(in crate::access_log) fn reopen(&self) {
        self.control.request_reopen();
        // If the queue is full, its chunks wake the writer.
        let _ = self.queue.try_send(WriterMessage::Wake);
    }

    /// Makes the writer end once its queue is empty and no sender is left, or at the deadline.
    pub(in crate::access_log) fn give_up_at(&self, deadline: Instant) {
        self.control.give_up_at(deadline);
    }

    /// Drops this end of the queue, so that the writer's end can be waited for.
    pub(in crate::access_log) fn close(self, to: LogTarget) -> ClosingWriter {
        ClosingWriter { to, done: self.done.into_inner().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl ClosingWriter {
    pub(in crate::access_log) fn wait(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()) + REPORT_TIMEOUT;
        if self.done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(log = %self.to, "access log not completely written before the deadline");
        }
    }
}
