//! What may hang, such as reading a file: apart from the control thread, and with a deadline.

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

/// For one job: the files of thousands of certificates are read in less. Two of them, and looking up
/// names, fit into what a reload may take for who asks by the API.
const PATIENCE: Duration = Duration::from_secs(10);

/// One job at a time: what hangs, on a disk that has gone, holds one thread and not one a reload.
#[derive(Default)]
pub(super) struct Apart(Option<JoinHandle<()>>);

impl Apart {
    /// What `job` returns, if it has by the deadline. `what` it does is for the message otherwise.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        what: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.run_by(Instant::now() + PATIENCE, what, job).await
    }

    /// Opens what `wanted` has and `logs` have not.
    ///
    /// # Errors
    /// What cannot be opened, or not by the deadline.
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

    async fn run_by<T: Send + 'static>(
        &mut self,
        deadline: Instant,
        what: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let late = || format!("{what} takes more than {PATIENCE:?}: a disk or a pipe hangs");
        if let Some(earlier) = &mut self.0 {
            // Whether it has panicked was told to who had asked for it.
            let _ = timeout_at(deadline, earlier).await.map_err(|_| late())?;
        }
        let (tell, told) = oneshot::channel();
        // Nobody listens any more once it is late.
        self.0 = Some(spawn_blocking(move || drop(tell.send(job()))));
        match timeout_at(deadline, told).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(format!("{what} has failed")),
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
    async fn what_hangs_is_given_up_and_nothing_is_begun_beside_it() {
        let mut apart = Apart::default();
        assert_eq!(apart.run_by(far(), "it", || 7).await, Ok(7));
        let (end, hangs) = channel::<()>();
        let late = Err("it takes more than 10s: a disk or a pipe hangs".to_owned());
        assert_eq!(apart.run_by(Instant::now(), "it", move || hangs.recv().is_ok()).await, late);
        let (begun, begins) = channel();
        let second = apart.run_by(Instant::now(), "it", move || begun.send(()).is_ok()).await;
        assert_eq!(second, late);
        // It was not even begun.
        assert!(begins.recv().is_err());
        drop(end);
        assert_eq!(apart.run_by(far(), "it", || 8).await, Ok(8));
    }

    #[tokio::test]
    async fn a_panic_is_a_fault_of_its_own() {
        let mut apart = Apart::default();
        let panics = || std::panic::resume_unwind(Box::new(()));
        let failed: Result<(), _> = apart.run_by(far(), "it", panics).await;
        assert_eq!(failed, Err("it has failed".to_owned()));
        assert_eq!(apart.run_by(far(), "it", || 9).await, Ok(9));
    }
}
