//! Runs jobs that may hang, such as reading a file, outside the control thread and with a deadline.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use crate::{
    access_log::{AccessLogs, OpenedOutputs, PreparedLogs},
    config,
};

/// The limit for one job: reading thousands of certificate files takes less. Two jobs and the
/// look-up of names fit into the time that the API allows for a reload.
const JOB_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one job at a time, so that a job that hangs on a lost disk holds one thread instead of one
/// for each reload.
#[derive(Default)]
pub(super) struct BlockingJobs(Option<JoinHandle<()>>);

impl BlockingJobs {
    /// Returns what `job` returns.
    ///
    /// # Errors
    /// A message that names `what` was not done before the deadline, or panicked.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        what: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.run_until(Instant::now() + JOB_TIMEOUT, what, job).await
    }

    /// Opens the logs in `wanted` that `logs` do not have yet.
    ///
    /// # Errors
    /// The log that cannot be opened, or not before the deadline.
    pub(super) async fn open_logs(
        &mut self,
        logs: &AccessLogs,
        wanted: &[config::AccessLog],
    ) -> Result<PreparedLogs, String> {
        let missing = logs.missing(wanted);
        let outputs = if missing.is_empty() {
            OpenedOutputs::default()
        } else {
            let opened = self.run("opening access logs", || OpenedOutputs::open(missing)).await;
            opened?.map_err(|error| error.to_string())?
        };
        logs.prepare(wanted, outputs).map_err(|error| error.to_string())
    }

    async fn run_until<T: Send + 'static>(
        &mut self,
        deadline: Instant,
        what: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let late = || format!("{what} took longer than {JOB_TIMEOUT:?}: a disk or pipe hangs");
        if let Some(earlier) = &mut self.0 {
            // A panic was already reported to its own caller.
            let _ = timeout_at(deadline, earlier).await.map_err(|_| late())?;
        }
        let (sender, result) = oneshot::channel();
        // Sending fails after the deadline, when the result is no longer awaited.
        self.0 = Some(spawn_blocking(move || drop(sender.send(job()))));
        match timeout_at(deadline, result).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(format!("{what} failed")),
            Err(_) => Err(late()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn a_hanging_job_times_out_and_no_other_starts_meanwhile() {
        let mut jobs = BlockingJobs::default();
        assert_eq!(jobs.run_until(far(), "it", || 7).await, Ok(7));
        // Its thread is about to end; a deadline in the past would not wait for that.
        jobs.0.take().unwrap().await.unwrap();
        let (end, hangs) = channel::<()>();
        let late = Err("it took longer than 10s: a disk or pipe hangs".to_owned());
        assert_eq!(jobs.run_until(Instant::now(), "it", move || hangs.recv().is_ok()).await, late);
        let (started, starts) = channel();
        let second = jobs.run_until(Instant::now(), "it", move || started.send(()).is_ok()).await;
        assert_eq!(second, late);
        // The job was never started.
        assert!(starts.recv().is_err());
        drop(end);
        assert_eq!(jobs.run_until(far(), "it", || 8).await, Ok(8));
    }

    #[tokio::test]
    async fn a_panic_is_reported_once() {
        let mut jobs = BlockingJobs::default();
        let panics = || std::panic::resume_unwind(Box::new(()));
        let failed: Result<(), _> = jobs.run_until(far(), "it", panics).await;
        assert_eq!(failed, Err("it failed".to_owned()));
        assert_eq!(jobs.run_until(far(), "it", || 9).await, Ok(9));
    }
}
