//! One access log file and the thread that writes it.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    format::{LineFormat, TemplateError},
    log_writer::SinkBuffer,
};
use crate::config::{self, WhenFull};

/// Chunks between the workers and a writer: at 128 KiB each, about 4,000 lines.
pub(super) const QUEUE: usize = 16;

/// The first and the longest pause before a failed write is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why an access log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "access log {}: {error}; the directory has to exist and the file to be writable for the \
         user that runs mqtt-lb (a named pipe needs a reader first)", path.display()
    )]
    File { path: PathBuf, error: io::Error },
    #[error("access log {}: its format cannot be used: {error}", path.display())]
    Format { path: PathBuf, error: TemplateError },
    #[error("access log {}: its writer thread cannot be started: {error}", path.display())]
    Thread { path: PathBuf, error: io::Error },
}

/// What goes through the queue.
pub(super) enum Message {
    /// Whole lines.
    Chunk(Vec<u8>),
    /// Only wakes the writer, so that it sees what [`Control`] asks for.
    Wake,
}

/// Number of lines in a chunk: no line has a line break inside, whatever a client sends.
#[expect(clippy::naive_bytecount, reason = "only what is lost is counted")]
pub(super) fn count_lines(chunk: &[u8]) -> usize {
    chunk.iter().filter(|&&byte| byte == b'\n').count()
}

/// One log as configured. Several configurations, one after the other, can share its writer.
pub(super) struct Sink {
    format: LineFormat,
    when_full: WhenFull,
    handle: Arc<Handle>,
}

/// The control thread's handle of a writer.
struct Handle {
    path: PathBuf,
    queue: Sender<Message>,
    control: Arc<Control>,
    /// Disconnected when the writer's thread is done.
    done: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// A log whose writer has been told to end.
pub(super) struct Closing {
    path: PathBuf,
    done: std::sync::mpsc::Receiver<()>,
}

struct Control {
    /// Of [`WhenFull`]: drop.
    drops: AtomicBool,
    reopen: AtomicBool,
    /// When a writer that is closing stops trying.
    give_up_at: OnceLock<Instant>,
}

impl Sink {
    /// With the writer of that one of `others` which goes to the same place, or with a new one.
    pub(super) fn open(
        log: &config::AccessLog,
        others: &[Self],
        dropped: &IntCounter,
    ) -> Result<Self, OpenError> {
        let format = LineFormat::new(&log.format)
            .map_err(|error| OpenError::Format { path: log.path.clone(), error })?;
        let handle = match others.iter().find(|other| other.handle.path == log.path) {
            Some(other) => other.handle.clone(),
            None => Arc::new(Handle::open(log, dropped.clone())?),
        };
        Ok(Self { format, when_full: log.when_full, handle })
    }

    /// What one worker renders for this log.
    pub(super) fn buffer(&self, dropped: &IntCounter) -> SinkBuffer {
        let queue = self.handle.queue.clone();
        SinkBuffer::new(self.format.clone(), self.when_full, queue, dropped.clone())
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }

    /// Tells the writer what it is configured to do from now on.
    pub(super) fn take_effect(&self) {
        let drops = self.when_full == WhenFull::Drop;
        self.handle.control.drops.store(drops, Ordering::Relaxed);
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
        let Handle { path, done, .. } = Arc::into_inner(self.handle)?;
        Some(Closing { path, done: done.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }
}

impl Handle {
    fn open(log: &config::AccessLog, dropped: IntCounter) -> Result<Self, OpenError> {
        let path = log.path.clone();
        let file = open(&path).map_err(|error| OpenError::File { path: path.clone(), error })?;
        let control = Arc::new(Control::new(log.when_full));
        let writer = Writer::new(&path, file, dropped, control.clone());
        let (queue, chunks) = channel(QUEUE);
        let (done_tx, done) = sync_channel(0);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(chunks, done_tx))
            .map_err(|error| OpenError::Thread { path: path.clone(), error })?;
        Ok(Self { path, queue, control, done: Mutex::new(done) })
    }
}

impl Control {
    fn new(when_full: WhenFull) -> Self {
        let (reopen, give_up_at) = (AtomicBool::new(false), OnceLock::new());
        Self { drops: AtomicBool::new(when_full == WhenFull::Drop), reopen, give_up_at }
    }

    fn drops(&self) -> bool {
        self.drops.load(Ordering::Relaxed)
    }
}

impl Closing {
    pub(super) fn wait(self, give_up_at: Instant) {
        let left = give_up_at.saturating_duration_since(Instant::now()) + CLOSE_GRACE;
        if self.done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(path = %self.path.display(), "access log not written to its end in time");
        }
    }
}

/// What a writer that gave up at the deadline may take to say so.
const CLOSE_GRACE: Duration = Duration::from_millis(100);

/// Opens for appending. Without a reader, a named pipe is an error rather than a wait without end.
fn open(path: &Path) -> io::Result<File> {
    // Under a service manager these may be sockets, which cannot be opened by their path.
    if path == Path::new("/dev/stdout") {
        return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
    }
    if path == Path::new("/dev/stderr") {
        return Ok(io::stderr().as_fd().try_clone_to_owned()?.into());
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // Client IDs and usernames are not for everyone's eyes.
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    file: File,
    /// Lines taken from the queue. Between chunks it is empty, or holds the one line of which a
    /// failing file took only the beginning.
    pending: Vec<u8>,
    /// How much of `pending` is in the file.
    written: usize,
    is_failing: bool,
    dropped: IntCounter,
    control: Arc<Control>,
}

impl Writer {
    fn new(path: &Path, file: File, dropped: IntCounter, control: Arc<Control>) -> Self {
        let path = path.to_owned();
        let (pending, written, is_failing) = (Vec::new(), 0, false);
        Self { path, file, pending, written, is_failing, dropped, control }
    }

    fn run(mut self, mut chunks: Receiver<Message>, _done: SyncSender<()>) {
        while let Some(message) = chunks.blocking_recv() {
            self.reopen_if_asked();
            if let Message::Chunk(chunk) = message {
                self.store(chunk);
            }
        }
    }

    fn store(&mut self, chunk: Vec<u8>) {
        if self.pending.is_empty() {
            self.pending = chunk;
        } else {
            self.pending.extend_from_slice(&chunk);
        }
        let mut pause = BACK_OFF.0;
        while let Err(error) = self.drain() {
            self.report_failure(&error);
            if self.control.drops() || self.must_give_up() {
                return self.shed();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(BACK_OFF.1);
            self.reopen_if_asked();
        }
        if self.is_failing {
            self.is_failing = false;
            tracing::info!(path = %self.path.display(), "access log can be written again");
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// Drops the lines that have not been begun; the one that has stays, to be ended first.
    fn shed(&mut self) {
        let begun = self.written - self.line_start();
        let pending = self.pending.split_off(self.line_start());
        let kept = if begun == 0 {
            0
        } else {
            pending.iter().position(|&byte| byte == b'\n').map_or(pending.len(), |end| end + 1)
        };
        let (kept, lost) = pending.split_at(kept);
        self.dropped.inc_by(count_lines(lost) as u64);
        self.pending = kept.to_vec();
        self.written = begun;
    }

    /// Where in `pending` the line begins that is to be written next or is half written.
    fn line_start(&self) -> usize {
        let written = self.pending.get(..self.written).unwrap_or_default();
        written.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
    }

    fn reopen_if_asked(&mut self) {
        if !self.control.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                // A line that the old file has only half of is written whole to the new one.
                self.written = self.line_start();
            }
            Err(error) => tracing::error!(
                path = %self.path.display(), %error,
                "access log cannot be reopened; the old file stays in use"
            ),
        }
    }

    fn must_give_up(&self) -> bool {
        self.control.give_up_at.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// Once per failure, not once per line.
    fn report_failure(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let then = if self.control.drops() {
                "its lines are dropped"
            } else {
                "new sessions wait until it can"
            };
            tracing::error!(path = %self.path.display(), %error, "access log cannot be written: {then}");
        }
    }
}

#[cfg(test)]
#[path = "tests/sink.rs"]
mod tests;
