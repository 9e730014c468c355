//! The proxy's access log, followed as it is written.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use mqtt_lb::testing::escape::plain;
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::paint::Paint;

/// How often the file is looked at: at once, to an eye.
const LOOK: Duration = Duration::from_millis(50);

/// The fields that the demo shows.
#[derive(Clone, Deserialize)]
pub(crate) struct Entry {
    pub(crate) time: String,
    pub(crate) event: String,
    pub(crate) transport: String,
    pub(crate) protocol_version: Option<u8>,
    pub(crate) client_id: Option<String>,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) upstream: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) session_present: Option<bool>,
    pub(crate) end_by: Option<String>,
    pub(crate) end_phase: Option<String>,
    pub(crate) end_cause: Option<String>,
    pub(crate) detail: Option<String>,
}

/// Every entry is printed when it is written, whether it is asked for or not.
pub(crate) struct Log {
    entries: mpsc::UnboundedReceiver<Entry>,
    follower: JoinHandle<()>,
}

impl Log {
    pub(crate) fn follow(file: PathBuf, paint: Paint) -> Self {
        let (sender, entries) = mpsc::unbounded_channel();
        println!("  {}", paint.dim(&heading()));
        let follower = tokio::spawn(async move {
            if let Err(error) = follow(&file, paint, &sender).await {
                let error = format!("{}: {error}", file.display());
                eprintln!("demo: {}", plain(&error));
            }
        });
        Self { entries, follower }
    }

    /// The next entry of a client; those of others before it are passed over.
    pub(crate) async fn next(
        &mut self,
        event: &str,
        client_id: &str,
        patience: Duration,
    ) -> anyhow::Result<Entry> {
        let found = async {
            loop {
                let entry = self.entries.recv().await?;
                if entry.event == event && entry.client_id.as_deref() == Some(client_id) {
                    return Some(entry);
                }
            }
        };
        let found = timeout(patience, found).await.ok().flatten();
        found.with_context(|| format!("no {event} of \"{client_id}\" in the access log"))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

async fn follow(
    file: &Path,
    paint: Paint,
    sender: &mpsc::UnboundedSender<Entry>,
) -> std::io::Result<()> {
    let mut file = File::open(file)?;
    let mut unread = Vec::new();
    loop {
        file.read_to_end(&mut unread)?;
        while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let entry: Entry = serde_json::from_slice(&line)?;
            println!("  {}", entry.line(paint));
            // The tour may be over, and nobody asks any more.
            let _ = sender.send(entry);
        }
        sleep(LOOK).await;
    }
}

fn heading() -> String {
    format!(
        "{:12}  {:10}  {:14}  {:7}  {:8}  {:8}  {}",
        "time (UTC)", "event", "client ID", "version", "username", "broker", "route"
    )
}

impl Entry {
    fn line(&self, paint: Paint) -> String {
        // Clients choose their IDs and names; none gets to steer the terminal.
        let or_dash = |text: &Option<String>| plain(text.as_deref().unwrap_or("-")).into_owned();
        let id = match self.client_id.as_deref() {
            Some("") => "(none)".to_owned(),
            Some(id) => plain(id).into_owned(),
            None => "-".to_owned(),
        };
        // RFC 3339: the time of day is what stands between the T and the Z.
        let time = self.time.split(['T', 'Z']).nth(1).unwrap_or(&self.time);
        format!(
            "{time:12}  {:10}  {id:14}  {:7}  {:8}  {}  {:8}  {}",
            self.event,
            version(self.protocol_version),
            or_dash(&self.username),
            paint.broker(&format!("{:8}", or_dash(&self.upstream))),
            or_dash(&self.route),
            self.outcome(paint),
        )
        .trim_end()
        .to_owned()
    }

    fn outcome(&self, paint: Paint) -> String {
        if let (Some(by), Some(phase), Some(cause)) =
            (&self.end_by, &self.end_phase, &self.end_cause)
        {
            let detail = self.detail.as_deref().map(|detail| format!(" ({})", plain(detail)));
            let detail = detail.unwrap_or_default();
            return paint.dim(&format!("ended by {by} in {phase}: {cause}{detail}"));
        }
        if self.session_present == Some(true) {
            return paint.green("session present");
        }
        match &self.assigned_client_id {
            Some(id) => paint.dim(&format!("was named {}", plain(id))),
            None => String::new(),
        }
    }
}

fn version(level: Option<u8>) -> &'static str {
    match level {
        Some(3) => "3.1",
        Some(4) => "3.1.1",
        Some(5) => "5.0",
        _ => "-",
    }
}
