//! `/metrics`: written once for all who ask at about the same time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::answer::{Answer, content};
use crate::observe::Metrics;

/// How old what is told may be: no more than a scrape may take longer than another, and so nothing
/// that a rate over seconds could show. A thousand scrapers then cost the work of ten a second.
const FRESH: Duration = Duration::from_millis(100);

/// The format's own name.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics as they were last written.
#[derive(Default)]
pub(super) struct Scrape(Mutex<Option<(Instant, Bytes)>>);

impl Scrape {
    pub(super) fn answer(&self, metrics: &Metrics) -> Answer {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match &*written {
            Some((at, text)) if at.elapsed() < FRESH => text.clone(),
            _ => {
                // Said to be as old as its oldest number.
                let at = Instant::now();
                let text = Bytes::from(metrics.render());
                *written = Some((at, text.clone()));
                text
            }
        };
        content(text, PROMETHEUS)
    }
}
