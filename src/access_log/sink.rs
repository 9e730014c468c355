//! One access log, and the thread that writes it, as the control thread holds them.

use std::{
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tokio::sync::mpsc::{Sender, channel};

use super::{
    blocked::{Buffers, Watched},
    format::{LineFormat, TemplateError},
    output::Output,
    syslog_header::SyslogHeader,
    worker_buffer::SinkBuffer,
    worker_logs::Group,
    writer_thread::Writer,
};
use crate::{
    config::{AccessLog, LogTarget, Rotate, WhenFull},
    metrics::AccessLogMetrics,
};

/// Chunks between the workers and a writer: at 128 KiB each, about 4,000 lines.
pub(super) const QUEUE: usize = 16;

/// Why an access log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "access log {to}: {error}; the directory has to exist and the file to be writable for the \
         user that runs mqtt-lb (a named pipe needs a reader first)"
    )]
    File { to: LogTarget, error: io::Error },
    #[error("access log {to}: its format cannot be used: {error}")]
    Format { to: LogTarget, error: TemplateError },
    #[error("access log {to}: its writer thread cannot be started: {error}")]
    Thread { to: LogTarget, error: io::Error },
}

/// What goes through the queue.
pub(super) enum Message {
    /// Whole lines.
    Chunk(Vec<u8>),
    /// Only wakes the writer, so that it sees what [`Control`] asks for.
    Wake,
}

/// One log as configured. Several configurations, one after the other, can share its writer.
pub(super) struct Sink {
    log: AccessLog,
    format: LineFormat,
    header: Option<SyslogHeader>,
    handle: Arc<Handle>,
}

/// The control thread's handle of a writer.
struct Handle {
    queue: Sender<Message>,
    control: Arc<Control>,
    buffers: Arc<Buffers>,
    /// Disconnected when the writer's thread is done.
    done: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// What a writer is asked for while it runs.
pub(super) struct Control {
    /// Of [`WhenFull`]: drop.
    drops: AtomicBool,
    rotate: Mutex<Option<Rotate>>,
    pub(super) reopen: AtomicBool,
    /// When a writer that is closing stops trying.
    give_up_at: OnceLock<Instant>,
}

/// A log whose writer has been told to end.
pub(super) struct Closing {
    to: LogTarget,
    done: std::sync::mpsc::Receiver<()>,
}

/// What logs are written to, opened for writers that are to be started.
#[derive(Default)]
pub struct OpenedOutputs(Vec<(LogTarget, Output)>);

impl OpenedOutputs {
    /// Opens each of them. Takes as long as the disk does, so not on a thread that others need.
    pub fn open(targets: Vec<LogTarget>) -> Result<Self, OpenError> {
        let open = |to: LogTarget| match Output::open(&to) {
            Ok(output) => Ok((to, output)),
            Err(error) => Err(OpenError::File { to, error }),
        };
        targets.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The one that goes there.
    fn take(&mut self, to: &LogTarget) -> Result<Output, OpenError> {
        match self.0.iter().position(|(known, _)| known == to) {
            Some(at) => Ok(self.0.swap_remove(at).1),
            None => Err(OpenError::File { to: to.clone(), error: io::ErrorKind::NotFound.into() }),
        }
    }
}

impl Sink {
    /// With the writer of that one of `others` which goes to the same place, or with a new one.
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
        let handle = match others.iter().find(|other| other.log.to == log.to) {
            Some(other) => other.handle.clone(),
            None => Arc::new(Handle::open(log, outputs.take(&log.to)?, dropped.clone())?),
        };
        Ok(Self { log: log.clone(), format, header, handle })
    }

    /// Adds what one worker renders for this log to the other logs of the same format.
    pub(super) fn add_to(&self, groups: &mut Vec<Group>, dropped: &IntCounter) {
        let buffer = SinkBuffer::new(
            self.header.clone(),
            self.log.events,
            self.log.when_full,
            self.handle.queue.clone(),
            self.handle.buffers.add(),
            dropped.clone(),
        );
        match groups.iter_mut().find(|group| group.source == self.log.format) {
            Some(group) => group.buffers.push(buffer),
            None => groups.push(Group {
                source: self.log.format.clone(),
                format: self.format.clone(),
                buffers: vec![buffer],
            }),
        }
    }

    pub(super) fn goes_to(&self, to: &LogTarget) -> bool {
        self.log.to == *to
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }

    /// Tells the writer what it is configured to do from now on.
    pub(super) fn take_effect(&self) {
        self.handle.control.set(&self.log);
    }

    /// This log, for those who watch whether it holds clients back.
    pub(super) fn watched(&self, metrics: &AccessLogMetrics) -> Watched {
        let to = self.log.to.clone();
        let gauge = metrics.blocked(&to.to_string());
        let blocks = self.log.when_full == WhenFull::Block;
        Watched::new(to, blocks, self.handle.buffers.clone(), gauge)
    }

    pub(super) fn reopen(&self) {
        self.handle.control.reopen.store(true, Ordering::Release);
        // A full queue wakes the writer too.
        let _ = self.handle.queue.try_send(Message::Wake);
    }

    /// Lets the writer end once its queue is empty and nobody holds an end of it any more.
    pub(super) fn leave(&self, give_up_at: Instant) {
        let _ = self.handle.control.give_up_at.set(give_up_at);
    }

    /// [`Self::leave`], to be waited for.
    pub(super) fn start_close(self, give_up_at: Instant) -> Option<Closing> {
        self.leave(give_up_at);
        let done = Arc::into_inner(self.handle)?.done;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(Closing { to: self.log.to, done })
    }
}

impl Handle {
    fn open(log: &AccessLog, output: Output, dropped: IntCounter) -> Result<Self, OpenError> {
        let to = &log.to;
        let control = Arc::new(Control::new(log));
        let writer = Writer::new(to.to_string(), output, dropped, control.clone());
        let (queue, chunks) = channel(QUEUE);
        let (done_tx, done) = sync_channel(0);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(chunks, done_tx))
            .map_err(|error| OpenError::Thread { to: to.clone(), error })?;
        Ok(Self { queue, control, buffers: Arc::default(), done: Mutex::new(done) })
    }
}

impl Control {
    pub(super) fn new(log: &AccessLog) -> Self {
        let control = Self {
            drops: AtomicBool::new(false),
            rotate: Mutex::new(None),
            reopen: AtomicBool::new(false),
            give_up_at: OnceLock::new(),
        };
        control.set(log);
        control
    }

    pub(super) fn set(&self, log: &AccessLog) {
        self.drops.store(log.when_full == WhenFull::Drop, Ordering::Relaxed);
        *self.rotate.lock().unwrap_or_else(PoisonError::into_inner) = log.rotate;
    }

    pub(super) fn drops(&self) -> bool {
        self.drops.load(Ordering::Relaxed)
    }

    pub(super) fn rotate(&self) -> Option<Rotate> {
        *self.rotate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of `wanted` there is until the writer has to give up, if it has to.
    pub(super) fn patience(&self, wanted: Duration) -> Duration {
        match self.give_up_at.get() {
            Some(deadline) => wanted.min(deadline.saturating_duration_since(Instant::now())),
            None => wanted,
        }
    }
}

impl Closing {
    pub(super) fn wait(self, give_up_at: Instant) {
        let left = give_up_at.saturating_duration_since(Instant::now()) + CLOSE_GRACE;
        if self.done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(log = %self.to, "access log not written to its end in time");
        }
    }
}

/// What a writer that gave up at the deadline may take to say so.
const CLOSE_GRACE: Duration = Duration::from_millis(100);
